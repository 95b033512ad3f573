//! Destinations and URIs, as fuzz targets read them.

use bitcoin::secp256k1::constants::GENERATOR_X;
use bitcoin::{Amount, Network};

use super::{Destination, Payer, Request, parse, uri};
use crate::ark::PinnedKeys;
use crate::wallet::PaymentUriRequest;
use crate::wallet::payment_uri::write;

/// An Ark address of a test network.
const ARK: &str = "tark1ptd4e9vezqqpmf7ah7q0kz94yn6q7tl275yssgwyc6wfx8qwaqj7u8eh970783r3zqypj0qruyh4u8yc3gmfqam9an2227n0rre45q39jts69ndu5nnj3umc3l04v4";

/// A destination. What is read is read again from how it is written.
pub fn destination(bytes: &[u8]) {
    let Ok(request) = parse(&String::from_utf8_lossy(bytes)) else {
        return;
    };
    for way in request.ways.iter().flatten() {
        if let Some(written) = text_of(way) {
            let read = parse(&written).expect("what is written can be read");
            let written_again = read.ways.iter().flatten().find_map(text_of);
            assert_eq!(written_again, Some(written));
        }
    }
    choose(request);
}

/// The query of a URI, and a label that goes into a URI of ours and must not change the rest of it.
pub fn payment_uri(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(Some(request)) = uri::parse(&format!("bitcoin:{text}")) {
        assert!(
            request
                .amount
                .is_none_or(|amount| amount <= Amount::MAX_MONEY)
        );
        choose(request);
    }
    let asked = PaymentUriRequest {
        amount: Some(Amount::from_sat(1_000)),
        label: Some(text.clone().into_owned()),
        message: Some(text.into_owned()),
        ..PaymentUriRequest::default()
    };
    let read = parse(&write(&asked, Network::Regtest, ARK, None, None));
    let read = read.expect("a URI of ours can be read");
    assert_eq!(read.amount, asked.amount);
    let [Ok(Destination::Ark(address))] = read.ways.as_slice() else {
        panic!("it names one Ark address");
    };
    assert_eq!(address.to_string(), ARK);
}

/// The text of what has one way to be written.
fn text_of(way: &Destination) -> Option<String> {
    match way {
        Destination::Ark(address) => Some(address.to_string()),
        Destination::Lightning(_) => None,
        Destination::Bitcoin(address) => Some(address.clone().assume_checked().to_string()),
    }
}

/// Chooses as a payer whose server has the key of the generator.
fn choose(request: Request) {
    let key = bitcoin::XOnlyPublicKey::from_slice(&GENERATOR_X).expect("it is on the curve");
    let key = key.public_key(bitcoin::secp256k1::Parity::Even);
    let payer = Payer {
        network: Network::Regtest,
        server: Ok(PinnedKeys {
            server: key,
            mailbox: key,
        }),
    };
    let _ = request.choose(&payer);
}
