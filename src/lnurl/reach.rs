//! Which addresses an LNURL may lead to. Otherwise a payee could make the daemon send requests to the services of the network that it
//! runs in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bitcoin::Network;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::Error;

/// The addresses that are requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Those of the public internet.
    Public,
    /// Those, and this machine, also without TLS: for tests on regtest.
    PublicAndLoopback,
}

impl Reach {
    pub(super) fn on(network: Network) -> Reach {
        match network {
            Network::Regtest => Reach::PublicAndLoopback,
            _ => Reach::Public,
        }
    }

    /// Checks a URL before it is requested, as far as it can be judged without resolving its host.
    ///
    /// # Errors
    /// The URL is not requested.
    pub(super) fn check(self, url: &Url) -> Result<(), Error> {
        let host = url.host().ok_or(Error::InvalidUrl("it names no host"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::InvalidUrl("it contains a user name or password"));
        }
        let is_local = is_loopback(&host);
        let is_allowed = match host {
            _ if is_local => self == Reach::PublicAndLoopback,
            Host::Ipv4(ip) => self.allows(ip.into()),
            Host::Ipv6(ip) => self.allows(ip.into()),
            Host::Domain(_) => true,
        };
        if !is_allowed {
            return Err(Error::Forbidden(host.to_string()));
        }
        match url.scheme() {
            "https" => Ok(()),
            "http" if is_local => Ok(()),
            "http" => Err(Error::InvalidUrl("it does not begin with https://")),
            _ => Err(Error::InvalidUrl("it is neither http nor https")),
        }
    }

    fn allows(self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        is_public(ip) || self == Reach::PublicAndLoopback && ip.is_loopback()
    }
}

/// Whether a host is this machine, as far as it can be told from its name.
pub(super) fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => IpAddr::V6(*ip).to_canonical().is_loopback(),
    }
}

/// Whether an address is reachable from everywhere (the registries of special-purpose addresses of RFC 6890).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let special = match ip.octets() {
        [0 | 10 | 127, ..] => true,
        [100, 64..=127, ..] => true, // carrier-grade NAT
        [169, 254, ..] => true,
        [172, 16..=31, ..] => true,
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [192, 168, ..] => true,
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        [224..=255, ..] => true, // multicast, reserved, broadcast
        _ => false,
    };
    !special
}

/// Global unicast is `2000::/3`. Addresses that carry an IPv4 address are as public as that.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low), // NAT64
        [0x2002, high, low, ..] => embedded(high, low),               // 6to4
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

/// Resolves names to the addresses that a [`Reach`] allows. The connection goes to exactly these, so a second answer of the DNS
/// cannot replace them.
pub(super) struct Resolver(pub(super) Reach);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| reach.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(ForbiddenHost(name.as_str().to_owned()).into());
            }
            let allowed: Addrs = Box::new(allowed.into_iter());
            Ok(allowed)
        })
    }
}

/// A host whose addresses are all forbidden.
#[derive(Debug)]
pub(super) struct ForbiddenHost(pub(super) String);

impl fmt::Display for ForbiddenHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no public address", self.0)
    }
}

impl std::error::Error for ForbiddenHost {}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(reach: Reach, url: &str) -> Option<&'static str> {
        let checked = reach.check(&Url::parse(url).unwrap());
        checked.err().map(|error| error.code())
    }

    #[test]
    fn only_the_public_internet_is_requested() {
        for url in [
            "https://example.com/x",
            "https://8.8.8.8/x",
            "https://[2606:4700::1111]:8443/x",
            "https://100.63.255.255/",
            "https://[64:ff9b::8.8.8.8]/",
        ] {
            assert_eq!(code(Reach::Public, url), None, "{url}");
        }
        for host in [
            "10.0.0.1",
            "127.0.0.1",
            "127.8.9.10",
            "2130706433", // 127.0.0.1 as one number
            "0x7f.1",
            "0.0.0.0",
            "100.64.0.1",
            "169.254.169.254",
            "172.31.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[::ffff:10.0.0.1]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::10.0.0.1]",
            "[2002:a00:1::]",
            "[2001:db8::1]",
            "[fc00::1]",
            "[fd12::1]",
            "[fe80::1]",
            "[ff02::1]",
            "localhost",
            "LOCALHOST.",
            "service.localhost",
        ] {
            let url = format!("https://{host}/x");
            let refused = code(Reach::Public, &url);
            assert_eq!(refused, Some("lnurl_address_forbidden"), "{url}");
        }
    }

    #[test]
    fn regtest_reaches_this_machine_and_no_other_private_address() {
        for url in [
            "http://127.0.0.1:3000/x",
            "http://localhost/x",
            "http://[::1]/",
        ] {
            assert_eq!(code(Reach::PublicAndLoopback, url), None, "{url}");
            assert_eq!(
                code(Reach::Public, url),
                Some("lnurl_address_forbidden"),
                "{url}"
            );
        }
        let private = code(Reach::PublicAndLoopback, "https://10.0.0.1/x");
        assert_eq!(private, Some("lnurl_address_forbidden"));
    }

    #[test]
    fn urls_without_tls_and_with_passwords_are_refused() {
        for url in [
            "http://example.com/x",
            "http://8.8.8.8/x",
            "ftp://example.com/x",
            "https://user@example.com/x",
            "https://:pass@example.com/x",
            "data:text/plain,x",
        ] {
            for reach in [Reach::Public, Reach::PublicAndLoopback] {
                assert_eq!(code(reach, url), Some("invalid_lnurl"), "{url}");
            }
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_this_machine_has_no_address() {
        let resolve = |reach| Resolver(reach).resolve("localhost".parse().unwrap());
        let Err(error) = resolve(Reach::Public).await else {
            panic!("localhost is not public");
        };
        assert!(error.downcast_ref::<ForbiddenHost>().is_some(), "{error}");
        let found = resolve(Reach::PublicAndLoopback).await.ok();
        assert!(found.is_some_and(|mut addresses| addresses.next().is_some()));
    }
}
