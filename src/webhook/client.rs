//! Posts to receivers, within limits of time and size.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Proxy, Response, redirect};
use url::Url;

use super::sign::signatures;
use super::target;

/// How long a receiver may take to answer.
const DEADLINE: Duration = Duration::from_secs(15);
/// How long the rest of an answer is read after its status, so that the connection can be used again.
const DRAIN: Duration = Duration::from_secs(1);
/// The most bytes of an answer that are read.
const MAX_ANSWER: usize = 4096;
/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// What a client is made from.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Sent with each post.
    pub user_agent: String,
    /// `socks5h://…`. Not used for addresses of this machine's network. With a proxy, names are resolved by it.
    pub socks5_proxy: Option<String>,
}

/// A sender of signed posts. It keeps the connection to a receiver open between posts.
pub struct Client {
    direct: reqwest::Client,
    proxied: reqwest::Client,
    deadline: Duration,
}

/// A post.
pub struct Post<'a> {
    /// Where it goes.
    pub url: Url,
    /// The header `webhook-id`: the same for each try of an event, and different for all others.
    pub id: &'a str,
    /// The secrets that sign.
    pub secrets: &'a [&'a [u8]],
    /// JSON.
    pub body: String,
}

/// What came of a post.
#[derive(Debug)]
pub struct Answer {
    /// The status; `None` without an answer.
    pub status: Option<u16>,
    /// How long the status, or the failure, took.
    pub latency: Duration,
    /// Why it counts as failed; `None` for a status from 200 to 299.
    pub error: Option<String>,
    /// How long the receiver wants to be left alone.
    pub retry_after: Option<Duration>,
}

impl Client {
    /// Makes a client; it sends nothing.
    ///
    /// # Errors
    /// The proxy's address is invalid.
    pub fn new(config: &ClientConfig) -> Result<Client, reqwest::Error> {
        let direct = builder(config).build()?;
        let proxied = match &config.socks5_proxy {
            Some(proxy) => builder(config).proxy(Proxy::all(proxy)?).build()?,
            None => direct.clone(),
        };
        Ok(Client {
            direct,
            proxied,
            deadline: DEADLINE,
        })
    }

    /// Signs and sends a post, and waits for the status of the answer.
    pub async fn post(&self, post: Post<'_>) -> Answer {
        let http = match target::is_local(&post.url) {
            true => &self.direct,
            false => &self.proxied,
        };
        let timestamp = Utc::now().timestamp();
        let signature = signatures(post.secrets, post.id, timestamp, &post.body);
        let request = http
            .post(post.url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", post.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(post.body);
        let begun = Instant::now();
        let answer = tokio::time::timeout(self.deadline, request.send()).await;
        let latency = begun.elapsed();
        let (status, error, retry_after) = match answer {
            Ok(Ok(answer)) => {
                let status = answer.status();
                let retry_after = retry_after(&answer);
                // What is not read closes the connection, and changes nothing else.
                let _ = tokio::time::timeout(DRAIN, drain(answer)).await;
                (Some(status.as_u16()), refusal(status), retry_after)
            }
            Ok(Err(error)) => (None, Some(reason(&error)), None),
            Err(_) => {
                let error = format!("no answer within {} seconds", self.deadline.as_secs());
                (None, Some(error), None)
            }
        };
        Answer {
            status,
            latency,
            error,
            retry_after,
        }
    }
}

fn builder(config: &ClientConfig) -> reqwest::ClientBuilder {
    // The proxy of the environment is not the operator's setting.
    reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(KEEP_ALIVE)
        .user_agent(&config.user_agent)
}

/// Why a status counts as failed.
fn refusal(status: reqwest::StatusCode) -> Option<String> {
    if status.is_success() {
        return None;
    }
    let hint = if status.is_redirection() {
        "; redirects are not followed"
    } else {
        ""
    };
    Some(format!("status {}{hint}", status.as_u16()))
}

/// The header `Retry-After` of an answer with 429 or 503, in seconds or as a date.
fn retry_after(answer: &Response) -> Option<Duration> {
    if !matches!(answer.status().as_u16(), 429 | 503) {
        return None;
    }
    let text = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    let at = || {
        let date = DateTime::parse_from_rfc2822(text).ok()?;
        (date.to_utc() - Utc::now()).to_std().ok()
    };
    text.parse().ok().map(Duration::from_secs).or_else(at)
}

/// Reads an answer to its end, and stops when it is too large.
async fn drain(mut answer: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = answer.chunk().await {
        read += chunk.len();
        if read > MAX_ANSWER {
            return;
        }
    }
}

/// Why a post got no answer. The innermost error says most, and does not contain the URL.
fn reason(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    match inner.downcast_ref::<reqwest::Error>() {
        Some(_) => "the request could not be sent".to_owned(),
        None => inner.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::Router;
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::response::{IntoResponse, Redirect, Response};
    use axum::routing::post;

    use super::*;

    static REDIRECTED: AtomicU32 = AtomicU32::new(0);

    /// A receiver with misbehaving paths; its base URL.
    async fn receiver() -> String {
        let endless = || {
            let chunk = Ok::<_, Infallible>(vec![b' '; 64 * 1024]);
            Body::from_stream(futures::stream::repeat(chunk))
        };
        let stalled = || {
            let nothing = futures::stream::pending::<Result<Vec<u8>, Infallible>>();
            (StatusCode::OK, Body::from_stream(nothing))
        };
        let wait = |value: &'static str| {
            let busy = StatusCode::SERVICE_UNAVAILABLE;
            move || async move { (busy, [("retry-after", value)]) }
        };
        let counted = || async {
            REDIRECTED.fetch_add(1, Ordering::Relaxed);
        };
        let routes = Router::new()
            .route("/fine", post(|| async { "thanks" }))
            .route("/silent", post(std::future::pending::<Response>))
            .route("/endless", post(move || async move { endless() }))
            .route("/stalled", post(move || async move { stalled() }))
            .route("/moved", post(|| async { Redirect::temporary("/target") }))
            .route("/target", post(counted))
            .route("/gone", post(|| async { StatusCode::GONE.into_response() }))
            .route("/seconds", post(wait("120")))
            .route("/date", post(wait("Fri, 01 Jan 2100 00:00:00 GMT")))
            .route("/past", post(wait("Sun, 06 Nov 1994 08:49:37 GMT")));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        base
    }

    async fn answer(client: &Client, url: &str) -> Answer {
        let post = Post {
            url: url.parse().unwrap(),
            id: "wh_1_2",
            secrets: &[&[7; 32]],
            body: "{}".to_owned(),
        };
        client.post(post).await
    }

    fn client(socks5_proxy: Option<&str>) -> Client {
        let config = ClientConfig {
            user_agent: "test/1".to_owned(),
            socks5_proxy: socks5_proxy.map(str::to_owned),
        };
        let client = Client::new(&config).unwrap();
        Client {
            deadline: Duration::from_secs(2),
            ..client
        }
    }

    #[tokio::test]
    async fn answers_are_bounded_in_time_and_size_and_redirects_are_failures() {
        let (base, client) = (receiver().await, client(None));
        let ask = async |path: &str| answer(&client, &format!("{base}{path}")).await;
        for path in ["/fine", "/endless", "/stalled"] {
            let answer = ask(path).await;
            assert_eq!((answer.status, answer.error), (Some(200), None), "{path}");
            assert!(answer.latency < Duration::from_secs(1), "{path}");
        }
        let silent = ask("/silent").await;
        assert_eq!(silent.error.as_deref(), Some("no answer within 2 seconds"));
        assert_eq!(silent.status, None);
        let moved = ask("/moved").await.error;
        assert_eq!(
            moved.as_deref(),
            Some("status 307; redirects are not followed")
        );
        assert_eq!(REDIRECTED.load(Ordering::Relaxed), 0);
        assert_eq!(ask("/gone").await.error.as_deref(), Some("status 410"));
        let nobody = answer(&client, "http://127.0.0.1:1/secret-path").await;
        let error = nobody.error.unwrap();
        assert!(
            error.contains("refused") && !error.contains("secret-path"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_busy_receiver_says_how_long_to_wait() {
        let (base, client) = (receiver().await, client(None));
        let ask = async |path: &str| answer(&client, &format!("{base}{path}")).await.retry_after;
        assert_eq!(ask("/seconds").await, Some(Duration::from_secs(120)));
        assert!(ask("/date").await.unwrap() > Duration::from_secs(3_600));
        assert_eq!(ask("/past").await, None);
        assert_eq!(ask("/gone").await, None);
    }

    #[tokio::test]
    async fn a_proxy_is_used_for_other_networks_only() {
        let base = receiver().await;
        let client = client(Some("socks5h://127.0.0.1:1"));
        let local = answer(&client, &format!("{base}/fine")).await;
        assert_eq!(local.error, None);
        let far = answer(&client, "http://192.0.2.1/").await;
        assert_eq!(far.status, None);
        assert!(
            far.latency < Duration::from_secs(1),
            "the proxy refuses at once"
        );
    }
}
