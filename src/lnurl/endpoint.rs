//! Where the server of a Lightning address or an LNURL is asked.

use bitcoin::bech32::primitives::decode::CheckedHrpstring;
use bitcoin::bech32::{self, Bech32, Hrp};
use url::Url;

use super::Error;
use super::reach::is_loopback;

/// The most characters before the `@` of a Lightning address.
const MAX_USER: usize = 64;

/// The URL whose answer tells how to pay somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// The endpoint of a Lightning address (LUD-16); `None` if the text is no Lightning address. The host may have a port. Hosts on
    /// this machine are asked without TLS; only wallets on regtest do that.
    pub fn of_address(text: &str) -> Option<Endpoint> {
        let (user, host) = text.split_once('@')?;
        let of_user = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        let of_host = |c: char| c.is_alphanumeric() || "-_.:[]".contains(c);
        // A user of dots alone would be taken for a step up in the path.
        let nameless = user.trim_matches('.').is_empty();
        if nameless
            || host.is_empty()
            || user.len() > MAX_USER
            || !user.chars().all(of_user)
            || !host.chars().all(of_host)
        {
            return None;
        }
        let user = user.to_ascii_lowercase();
        let url = Url::parse(&format!("https://{host}/.well-known/lnurlp/{user}")).ok()?;
        let is_local = is_loopback(&url.host()?);
        let is_named = url.domain().is_none_or(|domain| domain.contains('.'));
        (is_local || is_named).then(|| Endpoint(without_tls_if_local(url)))
    }

    /// The endpoint in a bech32 LNURL, `lnurl1…` (LUD-01); `None` if the text is none.
    ///
    /// # Errors
    /// It contains no URL, or is for a login.
    pub fn of_bech32(text: &str) -> Result<Option<Endpoint>, Error> {
        let Ok(decoded) = CheckedHrpstring::new::<Bech32>(text) else {
            return Ok(None);
        };
        if decoded.hrp() != hrp() {
            return Ok(None);
        }
        let bytes = decoded.byte_iter().collect();
        let url = String::from_utf8(bytes).ok();
        let url = url.and_then(|url| Url::parse(&url).ok());
        let url = url.ok_or(Error::InvalidUrl("it contains no URL"))?;
        if url
            .query_pairs()
            .any(|(key, value)| key == "tag" && value == "login")
        {
            return Err(Error::Unsupported("a login"));
        }
        Ok(Some(Endpoint(url)))
    }

    /// The endpoint in a URL with a scheme of LUD-17, such as `lnurlp://`; `None` if the text is none.
    ///
    /// # Errors
    /// It names no host, or is not for a payment.
    pub fn of_scheme(text: &str) -> Result<Option<Endpoint>, Error> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(None);
        };
        match scheme.to_ascii_lowercase().as_str() {
            "lnurlp" => {}
            "lnurlw" => return Err(Error::Unsupported("a withdrawal")),
            "lnurlc" => return Err(Error::Unsupported("a request for a channel")),
            "keyauth" => return Err(Error::Unsupported("a login")),
            _ => return Ok(None),
        }
        let url = Url::parse(&format!("https://{rest}"));
        let url = url.map_err(|_| Error::InvalidUrl("it names no host"))?;
        Ok(Some(Endpoint(without_tls_if_local(url))))
    }

    /// The endpoint as a bech32 LNURL, in lower case; as a URL if it is too long for one.
    pub fn to_bech32(&self) -> String {
        // A URL that is too long for the checksum of bech32 stays a URL.
        bech32::encode_lower::<Bech32>(hrp(), self.0.as_str().as_bytes())
            .unwrap_or_else(|_| self.0.to_string())
    }

    /// The URL.
    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

fn hrp() -> Hrp {
    Hrp::parse_unchecked("lnurl")
}

fn without_tls_if_local(mut url: Url) -> Url {
    if url.host().is_some_and(|host| is_loopback(&host)) {
        // Between two special schemes this always succeeds.
        let _ = url.set_scheme("http");
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of LUD-01.
    const LUD_01: &str = "LNURL1DP68GURN8GHJ7UM9WFMXJCM99E3K7MF0V9CXJ0M385EKVCENXC6R2C35XVUKXEFCV5MKVV34X5EKZD3EV56NYD3HXQURZEPEXEJXXEPNXSCRVWFNV9NXZCN9XQ6XYEFHVGCXXCMYXYMNSERXFQ5FNS";
    const LUD_01_URL: &str = "https://service.com/api?q=3fc3645b439ce8e7f2553a69e5267081d96dcd340693afabe04be7b0ccd178df";

    fn of_address(text: &str) -> Option<String> {
        Endpoint::of_address(text).map(|endpoint| endpoint.0.to_string())
    }

    #[test]
    fn a_lightning_address_leads_to_the_well_known_path() {
        for (address, url) in [
            (
                "ben@example.com",
                "https://example.com/.well-known/lnurlp/ben",
            ),
            (
                "Ben+tip@Example.COM",
                "https://example.com/.well-known/lnurlp/ben+tip",
            ),
            (
                "a_b.c-1@pay.example.com:8443",
                "https://pay.example.com:8443/.well-known/lnurlp/a_b.c-1",
            ),
            (
                "eva@bücher.example",
                "https://xn--bcher-kva.example/.well-known/lnurlp/eva",
            ),
            ("eva@1.1.1.1", "https://1.1.1.1/.well-known/lnurlp/eva"),
            (
                "alice@127.0.0.1:3000",
                "http://127.0.0.1:3000/.well-known/lnurlp/alice",
            ),
            (
                "alice@localhost:3000",
                "http://localhost:3000/.well-known/lnurlp/alice",
            ),
        ] {
            assert_eq!(of_address(address).as_deref(), Some(url), "{address}");
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_no_lightning_address() {
        for text in [
            "ben",
            "@",
            "ben@",
            "@example.com",
            "..@example.com",
            ".@example.com",
            "a/b@example.com",
            "a%2f@example.com",
            "ben@example.com/x",
            "ben@example.com?x",
            "ben@example.com#x",
            "ben@evil@example.com",
            "ben@host",
            "ben@exa mple.com",
            "ben@example.com\n",
            "bén@example.com",
            "ben@example.com:99999",
            "ben@[::1",
        ] {
            assert_eq!(of_address(text), None, "{text:?}");
        }
        assert_eq!(of_address(&format!("{}@example.com", "x".repeat(65))), None);
    }

    #[test]
    fn a_bech32_lnurl_is_read_in_both_cases() {
        for text in [LUD_01.to_owned(), LUD_01.to_lowercase()] {
            let endpoint = Endpoint::of_bech32(&text).unwrap().unwrap();
            assert_eq!(endpoint.0.as_str(), LUD_01_URL);
            assert_eq!(endpoint.to_bech32(), LUD_01.to_lowercase());
        }
        let broken = LUD_01.replace("DP68", "DP69");
        for text in [
            "lnurl1",
            "lnurl",
            &broken,
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
        ] {
            assert_eq!(Endpoint::of_bech32(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn a_lnurl_that_is_no_payment_is_refused() {
        let encode = |text: &str| bech32::encode::<Bech32>(hrp(), text.as_bytes()).unwrap();
        let refused = |text: &str| Endpoint::of_bech32(text).unwrap_err().code();
        let login = encode("https://example.com/?tag=login&k1=00&action=auth");
        assert_eq!(refused(&login), "unsupported_lnurl");
        assert_eq!(refused(&encode("no url")), "invalid_lnurl");
        for text in [
            "keyauth://example.com?k1=00",
            "lnurlw://example.com/x",
            "LNURLC://example.com",
        ] {
            let error = Endpoint::of_scheme(text).unwrap_err();
            assert_eq!(error.code(), "unsupported_lnurl", "{text}");
        }
    }

    #[test]
    fn the_scheme_lnurlp_stands_for_https() {
        let read = |text: &str| Endpoint::of_scheme(text).unwrap().unwrap().0.to_string();
        assert_eq!(
            read("lnurlp://example.com/pay?id=1"),
            "https://example.com/pay?id=1"
        );
        assert_eq!(read("LNURLP://example.com/Pay"), "https://example.com/Pay");
        assert_eq!(
            read("lnurlp://127.0.0.1:3000/pay"),
            "http://127.0.0.1:3000/pay"
        );
        assert_eq!(Endpoint::of_scheme("https://example.com"), Ok(None));
        assert!(Endpoint::of_scheme("lnurlp://").is_err());
    }
}
