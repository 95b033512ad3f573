//! Which web pages may call the API: CORS for configured origins, and a guard for daemons without authentication.
//!
//! A token protects the daemon from hostile web pages. Without one, any page that the operator visits could post to the loopback
//! port, directly or by DNS rebinding. Therefore a daemon without authentication checks that `Host` names its own address and that
//! `Origin`, if present, is the same site or an allowed origin.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header, uri::Authority};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::cors::{CorsLayer, preflight_request_headers};

use super::error::ApiError;
use super::idempotency;

/// Parses the origins of the command line.
///
/// # Errors
/// An origin does not have the form `http(s)://host[:port]`, without a trailing slash.
pub fn parse_origins(origins: &[String]) -> anyhow::Result<Vec<HeaderValue>> {
    origins
        .iter()
        .map(|origin| origin.trim())
        .filter(|origin| !origin.is_empty())
        .map(parse_origin)
        .collect()
}

fn parse_origin(origin: &str) -> anyhow::Result<HeaderValue> {
    let host = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    match (host, HeaderValue::from_str(origin)) {
        (Some(host), Ok(value))
            if !host.is_empty() && !host.contains("://") && !host.ends_with('/') =>
        {
            Ok(value)
        }
        _ => anyhow::bail!(
            "the allowed origin {origin:?} must have the form http://host or https://host, without a slash at the end"
        ),
    }
}

/// The CORS layer. Without configured origins it sends no CORS headers; `OPTIONS` is always answered with an empty 200
/// (docs/protocol.md §22.6).
pub(super) fn cors(allowed: &[HeaderValue]) -> CorsLayer {
    let layer = CorsLayer::new().vary(preflight_request_headers().collect::<Vec<_>>());
    if allowed.is_empty() {
        return layer;
    }
    layer
        .allow_origin(allowed.to_vec())
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
            HeaderName::from_static("idempotency-key"),
        ])
        .expose_headers([idempotency::REPLAYED, header::RETRY_AFTER])
}

/// The guard of a daemon without authentication.
#[derive(Debug)]
pub(super) struct Guard {
    /// The address that the daemon listens on.
    pub(super) bind: SocketAddr,
    /// Whether any `Host` is accepted, because the daemon listens beyond this machine and is reachable under names that it does not
    /// know.
    pub(super) any_host: bool,
    /// Origins of other sites that may call the API.
    pub(super) allowed_origins: Vec<HeaderValue>,
}

/// Rejects requests that a hostile web page could have sent. `None` means that authentication is on.
pub(super) async fn refuse_foreign_pages(
    State(guard): State<Option<Arc<Guard>>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Some(guard) = guard {
        guard.check(&request)?;
    }
    Ok(next.run(request).await)
}

impl Guard {
    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let Some(host) = host(request) else {
            return Err(ApiError::forbidden(
                "missing_host",
                "the request has no Host header",
            ));
        };
        if !self.any_host && !self.is_ours(&host) {
            return Err(ApiError::forbidden(
                "foreign_host",
                format!(
                    "without authentication this daemon accepts only its own address as Host, not {host}"
                ),
            ));
        }
        match request.headers().get(header::ORIGIN) {
            Some(origin) if !self.may_call(origin, &host) => Err(ApiError::forbidden(
                "foreign_origin",
                "without authentication this daemon rejects requests from other web pages; allow the page with --allowed-origins",
            )),
            _ => Ok(()),
        }
    }

    fn is_ours(&self, host: &Authority) -> bool {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        let right_port = host.port_u16().is_none_or(|port| port == self.bind.port());
        let right_name = name.eq_ignore_ascii_case("localhost")
            || name
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.is_loopback() || ip == self.bind.ip());
        right_port && right_name
    }

    fn may_call(&self, origin: &HeaderValue, host: &Authority) -> bool {
        let same_site = |origin: &str| {
            origin
                .split_once("://")
                .is_some_and(|(_, rest)| rest == host.as_str())
        };
        self.allowed_origins.contains(origin) || origin.to_str().is_ok_and(same_site)
    }
}

/// The host that the client addressed: the `Host` header of HTTP/1, the authority of HTTP/2.
fn host(request: &Request) -> Option<Authority> {
    let from_header = |headers: &HeaderMap| headers.get(header::HOST)?.to_str().ok()?.parse().ok();
    request
        .uri()
        .authority()
        .cloned()
        .or_else(|| from_header(request.headers()))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn origins_are_checked_at_start() {
        let parse = |origin: &str| parse_origins(&[origin.to_owned()]);
        assert!(parse("https://shop.example:8443").is_ok());
        assert!(parse_origins(&[String::new()]).unwrap().is_empty());
        for wrong in [
            "*",
            "null",
            "https://shop.example/",
            "shop.example",
            "https://a://b",
            "https://",
            "http://a\nb",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    fn verdict(guard: &Guard, host: &str, origin: Option<&str>) -> Result<(), &'static str> {
        let mut request = Request::builder().uri("/x").header(header::HOST, host);
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        guard
            .check(&request.body(Body::empty()).unwrap())
            .map_err(|e| e.code())
    }

    #[test]
    fn a_loopback_daemon_accepts_only_its_own_address() {
        let guard = Guard {
            bind: "127.0.0.1:3000".parse().unwrap(),
            any_host: false,
            allowed_origins: vec![HeaderValue::from_static("https://shop.example")],
        };
        assert_eq!(verdict(&guard, "127.0.0.1:3000", None), Ok(()));
        assert_eq!(
            verdict(&guard, "localhost:3000", Some("http://localhost:3000")),
            Ok(())
        );
        assert_eq!(verdict(&guard, "[::1]:3000", None), Ok(()));
        assert_eq!(
            verdict(&guard, "localhost:3000", Some("https://shop.example")),
            Ok(())
        );
        assert_eq!(
            verdict(&guard, "evil.example:3000", None),
            Err("foreign_host")
        );
        assert_eq!(verdict(&guard, "127.0.0.1:3001", None), Err("foreign_host"));
        assert_eq!(
            verdict(&guard, "localhost:3000", Some("https://evil.example")),
            Err("foreign_origin")
        );
        assert_eq!(
            verdict(&guard, "localhost:3000", Some("null")),
            Err("foreign_origin")
        );
        assert_eq!(
            verdict(&guard, "localhost:3000", Some("http://localhost:8080")),
            Err("foreign_origin")
        );
    }

    #[test]
    fn a_remote_daemon_accepts_any_host_but_no_foreign_page() {
        let guard = Guard {
            bind: "0.0.0.0:3000".parse().unwrap(),
            any_host: true,
            allowed_origins: Vec::new(),
        };
        assert_eq!(verdict(&guard, "wallet:3000", None), Ok(()));
        assert_eq!(
            verdict(&guard, "wallet:3000", Some("https://evil.example")),
            Err("foreign_origin")
        );
    }
}
