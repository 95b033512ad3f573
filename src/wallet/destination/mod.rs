//! What a caller wants to pay (docs/protocol.md §4.13). A text that can be read several ways means the first that fits.

mod ark;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod lightning;
mod method;
mod typo;
mod uri;

use std::str::FromStr;

use bitcoin::address::NetworkUnchecked;
use bitcoin::{Amount, Network};

use crate::ark::PinnedKeys;
use crate::wallet::{Error, Result, Wallet};

pub(in crate::wallet) use ark::{check as check_payable, read as read_ark_address};
pub(in crate::wallet) use lightning::{LightningDestination, LightningPayee};
pub use method::payment_method;

/// Somewhere money can go.
#[derive(Clone, Debug)]
pub(in crate::wallet) enum Destination {
    /// Another wallet of an Ark.
    Ark(Box<ark_lib::Address>),
    /// Somebody who is paid over Lightning.
    Lightning(LightningDestination),
    /// A bitcoin address.
    Bitcoin(bitcoin::Address<NetworkUnchecked>),
}

/// A destination that this wallet can pay, and the amount if the caller or the destination's URI names one.
pub(in crate::wallet) struct Payee {
    pub destination: Destination,
    pub amount: Option<Amount>,
}

/// What is read from a text.
#[derive(Debug)]
struct Request {
    /// The ways to pay, the preferred first. A URI may have some that cannot be read.
    ways: Vec<Result<Destination>>,
    /// The amount of a URI.
    amount: Option<Amount>,
}

/// Who pays.
struct Payer {
    network: Network,
    /// The server's keys; an error before the first connection.
    server: Result<PinnedKeys>,
}

impl Wallet {
    /// Reads a destination, and chooses how it is paid.
    ///
    /// # Errors
    /// It cannot be read, or this wallet cannot pay it, or it names another amount than the caller.
    pub(in crate::wallet) fn read_destination(
        &self,
        text: &str,
        amount: Option<Amount>,
    ) -> Result<Payee> {
        let request = parse(text)?;
        Ok(Payee {
            amount: request.agreed_amount(amount)?,
            destination: request.choose(&self.payer())?,
        })
    }

    /// As [`read_destination`](Self::read_destination), of what is paid over Lightning only.
    ///
    /// # Errors
    /// As `read_destination`; `not_lightning` if nothing of it is paid over Lightning.
    pub(in crate::wallet) fn read_lightning_destination(
        &self,
        text: &str,
        amount: Option<Amount>,
    ) -> Result<(LightningDestination, Option<Amount>)> {
        let mut request = parse(text)?;
        request.ways.retain(is_maybe_lightning);
        let amount = request.agreed_amount(amount)?;
        match request.choose(&self.payer())? {
            Destination::Lightning(destination) => Ok((destination, amount)),
            Destination::Ark(_) | Destination::Bitcoin(_) => Err(not_lightning()),
        }
    }

    fn payer(&self) -> Payer {
        Payer {
            network: self.network,
            server: self.server_keys(),
        }
    }
}

/// Reads a bitcoin address of a network.
///
/// # Errors
/// `invalid_address`, `wrong_network`.
pub(in crate::wallet) fn read_bitcoin_address(
    text: &str,
    network: Network,
) -> Result<bitcoin::Address> {
    let address = bitcoin::Address::<NetworkUnchecked>::from_str(text).map_err(|_| {
        let message = typo::explain(text).unwrap_or_else(|| {
            let what_to_do = match parse(text) {
                Ok(_) => "pay it with POST /api/v1/wallet/send",
                Err(_) => "ask the payee for one",
            };
            format!("this is not a bitcoin address; {what_to_do}")
        });
        Error::bad_request("invalid_address", message)
    })?;
    let checked = address.require_network(network);
    checked.map_err(|_| foreign_bitcoin_address(network))
}

fn foreign_bitcoin_address(ours: Network) -> Error {
    let message = format!(
        "this bitcoin address belongs to another network, the wallet is on {}; ask the payee for one of the wallet's network",
        name_of(ours)
    );
    Error::bad_request("wrong_network", message)
}

/// A network as users name it.
fn name_of(network: Network) -> &'static str {
    match network {
        Network::Bitcoin => "mainnet",
        Network::Signet => "signet",
        Network::Regtest => "regtest",
        _ => "testnet",
    }
}

fn is_maybe_lightning(way: &Result<Destination>) -> bool {
    matches!(way, Ok(Destination::Lightning(_)) | Err(_))
}

fn not_lightning() -> Error {
    let message =
        "the destination cannot be paid over Lightning; pay it with POST /api/v1/wallet/send";
    Error::bad_request("not_lightning", message)
}

fn parse(text: &str) -> Result<Request> {
    if let Some(request) = uri::parse(text)? {
        return Ok(request);
    }
    Ok(Request {
        ways: vec![Ok(parse_single(text)?)],
        amount: None,
    })
}

fn parse_single(text: &str) -> Result<Destination> {
    if let Some(address) = ark::parse(text)? {
        return Ok(Destination::Ark(Box::new(address)));
    }
    if let Some(destination) = lightning::parse(text)? {
        return Ok(Destination::Lightning(destination));
    }
    if let Ok(address) = text.parse() {
        return Ok(Destination::Bitcoin(address));
    }
    let message = typo::explain(text).unwrap_or_else(|| {
        "the destination is neither an Ark address, a Lightning invoice, offer, address or LNURL, a bitcoin address, nor a bitcoin: URI; ask the payee for one of these".to_owned()
    });
    Err(Error::bad_request("invalid_destination", message))
}

impl Request {
    /// The amount of the caller and the amount of the URI have to be the same.
    fn agreed_amount(&self, asked: Option<Amount>) -> Result<Option<Amount>> {
        match (asked, self.amount) {
            (Some(asked), Some(named)) if asked != named => {
                let message = format!(
                    "the destination asks for {} sat, amount_sat is {}; leave amount_sat out or set it to the same",
                    named.to_sat(),
                    asked.to_sat()
                );
                Err(Error::bad_request("amount_mismatch", message))
            }
            _ => Ok(asked.or(self.amount)),
        }
    }

    /// The first way that this payer can take, else why not the first of all.
    fn choose(self, payer: &Payer) -> Result<Destination> {
        let mut refusal = None;
        for way in self.ways {
            let checked = way.and_then(|way| way.check(payer).map(|()| way));
            match checked {
                Ok(destination) => return Ok(destination),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.unwrap_or_else(not_lightning))
    }
}

impl Destination {
    /// Refuses what belongs to another network or server, or cannot be paid.
    fn check(&self, payer: &Payer) -> Result<()> {
        match self {
            Destination::Ark(address) => {
                let server = payer.server.as_ref().map_err(Clone::clone)?;
                ark::check(address, payer.network, server)
            }
            Destination::Lightning(destination) => destination.check(payer.network),
            Destination::Bitcoin(address) if address.is_valid_for_network(payer.network) => Ok(()),
            Destination::Bitcoin(_) => Err(foreign_bitcoin_address(payer.network)),
        }
    }
}

#[cfg(test)]
mod tests;
