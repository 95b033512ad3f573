//! The headers that every call must have (docs/protocol.md §30.3).

use server_rpc::client::USER_AGENT_HEADER;
use server_rpc::pver::PROTOCOL_VERSION_HASHLOCK_CLAUSES;
use server_rpc::tonic::Status;
use server_rpc::tonic::codegen::http::HeaderMap;
use server_rpc::{MAX_PROTOCOL_VERSION, MIN_PROTOCOL_VERSION, PROTOCOL_VERSION_HEADER};

/// Maximum length of a client name.
const MAX_NAME: usize = 32;

/// Refuses a call without a protocol version that this server speaks, or with a malformed client name. Only the handshake, which
/// negotiates the version, needs none.
pub fn check_headers(rpc: &str, headers: &HeaderMap) -> Result<(), Status> {
    if let Some(agent) = headers.get(USER_AGENT_HEADER) {
        let valid = agent.to_str().is_ok_and(is_user_agent);
        if !valid {
            return Err(Status::invalid_argument("malformed x-user-agent header"));
        }
    }
    match headers.get(PROTOCOL_VERSION_HEADER) {
        None if rpc == "Handshake" => Ok(()),
        None => Err(Status::invalid_argument("missing pver header")),
        Some(value) => match value.to_str().ok().and_then(|text| text.parse().ok()) {
            None => Err(Status::invalid_argument("malformed pver header")),
            Some(version) if version < lightning_version(rpc) => {
                Err(Status::invalid_argument("client version is too old"))
            }
            Some(version) if (min_version(rpc)..=MAX_PROTOCOL_VERSION).contains(&version) => Ok(()),
            Some(_) => Err(Status::invalid_argument(format!(
                "protocol version must be {} to {MAX_PROTOCOL_VERSION}",
                min_version(rpc)
            ))),
        },
    }
}

/// Clients below the version of the current hash locks cannot read the trees of rounds.
fn min_version(rpc: &str) -> u64 {
    match rpc {
        "SubmitPayment" | "SubmitRoundParticipation" => PROTOCOL_VERSION_HASHLOCK_CLAUSES,
        _ => MIN_PROTOCOL_VERSION,
    }
}

/// Calls that build or pay HTLCs need the current hash locks, too.
fn lightning_version(rpc: &str) -> u64 {
    match rpc {
        "RequestLightningPayHtlcCosign"
        | "InitiateLightningPayment"
        | "StartLightningReceive"
        | "PrepareLightningReceiveClaim" => PROTOCOL_VERSION_HASHLOCK_CLAUSES,
        _ => 0,
    }
}

/// `name/version`, the name in lower case letters, digits, `_` and `-`.
fn is_user_agent(text: &str) -> bool {
    text.split_once('/').is_some_and(|(name, version)| {
        (1..=MAX_NAME).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
            && !version.is_empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rpc: &str, headers: &[(&'static str, &str)]) -> bool {
        let map = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        check_headers(rpc, &map).is_ok()
    }

    #[test]
    fn a_protocol_version_is_needed_after_the_handshake() {
        assert!(check("Handshake", &[]));
        assert!(!check("GetArkInfo", &[]));
        assert!(check("GetArkInfo", &[("pver", "4")]));
        assert!(check("GetArkInfo", &[("pver", "5")]));
        for wrong in ["3", "6", "five", ""] {
            assert!(!check("GetArkInfo", &[("pver", wrong)]), "{wrong}");
        }
        assert!(!check("SubmitPayment", &[("pver", "4")]));
        assert!(check("SubmitPayment", &[("pver", "5")]));
        assert!(!check("InitiateLightningPayment", &[("pver", "4")]));
        assert!(check("ClaimLightningReceive", &[("pver", "4")]));
    }

    #[test]
    fn a_client_name_is_optional_but_has_a_form() {
        for right in ["barkd/0.8.0", "a_b-1/x"] {
            assert!(check("Handshake", &[("x-user-agent", right)]), "{right}");
        }
        let long = format!("{}/1", "a".repeat(33));
        for wrong in ["", "barkd", "/1", "Barkd/1", "bark d/1", "barkd/", &long] {
            assert!(!check("Handshake", &[("x-user-agent", wrong)]), "{wrong}");
        }
    }
}
