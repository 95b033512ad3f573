//! Requests to servers that a payee names, within limits of time, size, redirects and addresses.

use std::time::Duration;

use bitcoin::Network;
use reqwest::header::LOCATION;
use reqwest::{NoProxy, Proxy, Response, StatusCode, redirect};
use serde_json::Value;
use url::Url;

use super::Error;
use super::reach::{ForbiddenHost, Reach, Resolver};

/// How long the whole exchange with a server may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// The most bytes of an answer. LUD-06 allows an image of 136 536 characters in it.
const MAX_ANSWER: usize = 256 * 1024;
/// The most redirects of one request.
const MAX_REDIRECTS: usize = 3;
/// The most characters of a server's text that are shown.
const MAX_REASON: usize = 200;
/// Hosts that are not reached through a proxy.
const LOCAL: &str = "localhost,.localhost,127.0.0.0/8,::1";

/// What a client is made from.
#[derive(Clone)]
pub struct ClientConfig {
    /// The wallet's network. On regtest, servers on this machine are allowed.
    pub network: Network,
    /// Sent with each request.
    pub user_agent: String,
    /// `socks5h://…`. Not used for this machine. With a proxy, names are resolved by it.
    pub socks5_proxy: Option<String>,
}

/// A client of LNURL-pay servers.
pub struct Client {
    http: reqwest::Client,
    reach: Reach,
}

impl Client {
    /// Makes a client; it sends nothing.
    ///
    /// # Errors
    /// The proxy's address is invalid.
    pub fn new(config: &ClientConfig) -> Result<Client, reqwest::Error> {
        let reach = Reach::on(config.network);
        // The proxy of the environment would resolve names behind the resolver's back.
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            .pool_max_idle_per_host(0)
            .user_agent(&config.user_agent);
        let builder = match &config.socks5_proxy {
            Some(proxy) => builder.proxy(Proxy::all(proxy)?.no_proxy(NoProxy::from_string(LOCAL))),
            None => builder.dns_resolver(std::sync::Arc::new(Resolver(reach))),
        };
        Ok(Client {
            http: builder.build()?,
            reach,
        })
    }

    /// Requests a JSON object.
    ///
    /// # Errors
    /// [`Error::Refused`] if the server answers with an error of its own; the others say why the URL was not requested or the
    /// answer not used.
    pub(super) async fn get(&self, url: &Url) -> Result<Value, Error> {
        let mut answer = self.follow(url.clone()).await?;
        let status = answer.status();
        let body = read(&mut answer).await?;
        understand(status, &body)
    }

    /// Requests a URL and follows redirects. Each is checked as the first URL is.
    async fn follow(&self, mut url: Url) -> Result<Response, Error> {
        for _ in 0..=MAX_REDIRECTS {
            self.reach.check(&url)?;
            let answer = self.http.get(url.clone()).send().await;
            let answer = answer.map_err(|error| unanswered(&error))?;
            if !is_redirect(answer.status()) {
                return Ok(answer);
            }
            let target = answer.headers().get(LOCATION);
            let target = target.and_then(|target| target.to_str().ok());
            let target = target.and_then(|target| url.join(target).ok());
            let invalid = || Error::InvalidAnswer("a redirect to nowhere".to_owned());
            url = target.ok_or_else(invalid)?;
        }
        let message = format!("more than {MAX_REDIRECTS} redirects");
        Err(Error::InvalidAnswer(message))
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Reads a body, and stops when it is too large.
async fn read(answer: &mut Response) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unanswered(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            let message = format!("it is larger than {MAX_ANSWER} bytes");
            return Err(Error::InvalidAnswer(message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The JSON object of an answer.
///
/// # Errors
/// [`Error::Refused`] if it is an error of the server's own; [`Error::InvalidAnswer`].
pub(super) fn understand(status: StatusCode, body: &[u8]) -> Result<Value, Error> {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    if let Some(reason) = json.as_ref().and_then(refusal) {
        return Err(Error::Refused(reason));
    }
    match json {
        Some(json) if status.is_success() && json.is_object() => Ok(json),
        _ if !status.is_success() => Err(Error::InvalidAnswer(format!("status {status}"))),
        _ => Err(Error::InvalidAnswer("it is no JSON object".to_owned())),
    }
}

/// The reason in `{"status": "ERROR", "reason": …}`.
fn refusal(answer: &Value) -> Option<String> {
    let status = answer["status"].as_str()?;
    status.eq_ignore_ascii_case("error").then(|| {
        let reason = answer["reason"].as_str().unwrap_or("it gave no reason");
        printable(reason)
    })
}

/// A server's text without control characters, cut to [`MAX_REASON`].
pub(super) fn printable(text: &str) -> String {
    let shown = text.chars().filter(|c| !c.is_control());
    shown.take(MAX_REASON).collect()
}

/// Why a request got no answer. The innermost error says most.
fn unanswered(error: &reqwest::Error) -> Error {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    match inner.downcast_ref::<ForbiddenHost>() {
        Some(ForbiddenHost(host)) => Error::Forbidden(host.clone()),
        None => Error::Unreachable(printable(&inner.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::extract::Path;
    use axum::http::header::LOCATION;
    use axum::response::IntoResponse;
    use axum::routing::get;

    use super::*;

    fn client(network: Network) -> Client {
        let config = ClientConfig {
            network,
            user_agent: "test/1".to_owned(),
            socks5_proxy: None,
        };
        Client::new(&config).unwrap()
    }

    /// A server with one path; its base URL.
    async fn serve(routes: Router) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        base
    }

    async fn answer_to(body: &'static str) -> Result<Value, Error> {
        let base = serve(Router::new().route("/", get(async move || body))).await;
        client(Network::Regtest).get(&base.parse().unwrap()).await
    }

    #[tokio::test]
    async fn three_redirects_are_followed_and_no_more() {
        let hop = async |Path(left): Path<u32>| match left {
            0 => "{\"tag\": \"payRequest\"}".into_response(),
            left => (StatusCode::FOUND, [(LOCATION, format!("/{}", left - 1))]).into_response(),
        };
        let base = serve(Router::new().route("/{left}", get(hop))).await;
        let client = client(Network::Regtest);
        let three = client.get(&format!("{base}/3").parse().unwrap()).await;
        assert_eq!(three.unwrap()["tag"], "payRequest");
        let four = client.get(&format!("{base}/4").parse().unwrap()).await;
        assert_eq!(four.unwrap_err().code(), "lnurl_invalid_answer");
    }

    #[tokio::test]
    async fn a_redirect_goes_nowhere_that_the_first_request_may_not_go() {
        for (target, code) in [
            ("https://10.0.0.1/x", "lnurl_address_forbidden"),
            ("http://10.0.0.1/x", "lnurl_address_forbidden"),
            ("http://example.com/x", "invalid_lnurl"),
            ("file:///etc/passwd", "invalid_lnurl"),
        ] {
            let away = move || async move { (StatusCode::FOUND, [(LOCATION, target)]) };
            let base = serve(Router::new().route("/", get(away))).await;
            let refused = client(Network::Regtest).get(&base.parse().unwrap()).await;
            assert_eq!(refused.unwrap_err().code(), code, "{target}");
        }
    }

    #[tokio::test]
    async fn reading_stops_when_the_answer_is_too_large() {
        let endless = || async {
            let chunk = Ok::<_, std::convert::Infallible>(vec![b' '; 64 * 1024]);
            Body::from_stream(futures::stream::repeat(chunk))
        };
        let base = serve(Router::new().route("/", get(endless))).await;
        let refused = client(Network::Regtest).get(&base.parse().unwrap()).await;
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("262144 bytes"), "{error}");
    }

    #[tokio::test]
    async fn a_reason_is_cut_and_stripped_of_control_characters() {
        let answer =
            answer_to("{\"status\": \"ERROR\", \"reason\": \"no\\u001b[31m\\nway\"}").await;
        assert_eq!(answer.unwrap_err(), Error::Refused("no[31mway".to_owned()));
        assert_eq!(printable(&"ü".repeat(500)).chars().count(), MAX_REASON);
        for (body, code) in [
            ("{\"status\": \"error\"}", "lnurl_refused"),
            ("<html>", "lnurl_invalid_answer"),
            ("", "lnurl_invalid_answer"),
            ("[]", "lnurl_invalid_answer"),
        ] {
            assert_eq!(answer_to(body).await.unwrap_err().code(), code, "{body}");
        }
    }

    #[tokio::test]
    async fn outside_regtest_a_server_on_this_machine_is_not_asked() {
        let base = serve(Router::new().route("/", get(|| async { "{}" }))).await;
        let client = client(Network::Bitcoin);
        let refused = client.get(&base.parse().unwrap()).await;
        assert_eq!(refused.unwrap_err().code(), "lnurl_address_forbidden");
    }

    #[tokio::test]
    async fn a_closed_port_is_no_answer() {
        let refused = client(Network::Regtest)
            .get(&"http://127.0.0.1:1/".parse().unwrap())
            .await;
        assert_eq!(refused.unwrap_err().code(), "lnurl_unreachable");
    }
}
