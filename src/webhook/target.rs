//! The URLs that webhooks may have, and which of them a proxy cannot reach.

use url::{Host, Url};

/// The most bytes of a URL.
const MAX_URL: usize = 2048;

/// Reads the URL of a webhook.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn parse_url(text: &str) -> Result<Url, &'static str> {
    if text.len() > MAX_URL {
        return Err("is longer than 2048 bytes");
    }
    let url = Url::parse(text).map_err(|_| "is not a URL, such as https://example.com/hook")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("does not begin with https:// or http://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("contains a user name or password; verify the signature instead");
    }
    if url.fragment().is_some() {
        return Err("has a fragment (#…), which is never sent");
    }
    Ok(url)
}

/// Whether a host is in the network of this machine, which a proxy does not reach: a private address, or a name without a dot, such as
/// that of another container.
pub(super) fn is_local(url: &Url) -> bool {
    match url.host() {
        None => false,
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            !name.contains('.') || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Some(Host::Ipv6(ip)) => match ip.to_ipv4_mapped() {
            Some(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
            None => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_web_urls_are_taken() {
        for right in [
            "https://shop.example/hook?token=x",
            "http://10.0.0.7:8080/",
            "http://backend:8080/hook",
            "http://[::1]:9",
        ] {
            assert!(parse_url(right).is_ok(), "{right}");
        }
        let long = format!("https://example.com/{}", "x".repeat(2048));
        for wrong in [
            "",
            "example.com",
            "ftp://example.com",
            "file:///etc/passwd",
            "http://",
            "https://user@example.com",
            "https://:secret@example.com",
            "https://example.com/#part",
            &long,
        ] {
            assert!(parse_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_network_of_this_machine_needs_no_proxy() {
        let local = |url: &str| is_local(&parse_url(url).unwrap());
        for url in [
            "http://127.0.0.1",
            "http://localhost:1",
            "http://backend:8080",
            "http://192.168.1.2",
            "http://172.17.0.1",
            "http://[::1]",
            "http://[fd00::1]",
            "http://[::ffff:10.0.0.1]",
        ] {
            assert!(local(url), "{url}");
        }
        for url in [
            "https://example.com",
            "http://8.8.8.8",
            "http://[2001:db8::1]",
        ] {
            assert!(!local(url), "{url}");
        }
    }
}
