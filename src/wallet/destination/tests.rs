//! What is read from a text, and which way is chosen.

use ark_lib::VtxoPolicy;
use bitcoin::secp256k1::{PublicKey, SecretKey};
use proptest::prelude::*;

use super::*;
use crate::model::PaymentMethod;

const ARK: &str = "tark1ptd4e9vezqqpmf7ah7q0kz94yn6q7tl275yssgwyc6wfx8qwaqj7u8eh970783r3zqypj0qruyh4u8yc3gmfqam9an2227n0rre45q39jts69ndu5nnj3umc3l04v4";
const REGTEST: &str = "bcrt1p8wpt9v4frpf3tkn0srd97pksgsxc5hs52lafxwru9kgeephvs7rqjeprhg";
/// BOLT11: "Please make a donation of any amount using payment_hash 0001…", mainnet, no amount.
const BOLT11: &str = "lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap9us6v52vjjsrvywa6rt52cm9r9zqt8r2t7mlcwspyetp5h2tztugp9lfyql";
/// BOLT11: all in upper case, mainnet, 2500 µBTC.
const BOLT11_UPPER: &str = "LNBC25M1PVJLUEZPP5QQQSYQCYQ5RQWZQFQQQSYQCYQ5RQWZQFQQQSYQCYQ5RQWZQFQYPQDQ5VDHKVEN9V5SXYETPDEESSP5ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYGS9Q5SQQQQQQQQQQQQQQQQSGQ2A25DXL5HRNTDTN6ZVYDT7D66HYZSYHQS4WDYNAVYS42XGL6SGX9C4G7ME86A27T07MDTFRY458RTJR0V92CNMSWPSJSCGT2VCSE3SGPZ3UAPA";
/// BOLT12: an offer of the mainnet without an amount.
const OFFER: &str =
    "lno1pgx9getnwss8vetrw3hhyuckyypwa3eyt44h6txtxquqh7lz5djge4afgfjn7k4rgrkuag0jsd5xvxg";
/// LUD-01.
const LNURL: &str = "LNURL1DP68GURN8GHJ7UM9WFMXJCM99E3K7MF0V9CXJ0M385EKVCENXC6R2C35XVUKXEFCV5MKVV34X5EKZD3EV56NYD3HXQURZEPEXEJXXEPNXSCRVWFNV9NXZCN9XQ6XYEFHVGCXXCMYXYMNSERXFQ5FNS";

fn key(byte: u8) -> PublicKey {
    let secret = SecretKey::from_slice(&[byte; 32]).unwrap();
    secret.public_key(&ark_lib::SECP)
}

/// An Ark address of the server with this key.
fn ark(server: u8) -> String {
    let policy = VtxoPolicy::new_pubkey(key(9));
    ark_lib::Address::new(true, key(server), policy, vec![]).to_string()
}

fn payer(network: Network) -> Payer {
    let (server, mailbox) = (key(1), key(2));
    Payer {
        network,
        server: Ok(PinnedKeys { server, mailbox }),
    }
}

/// Reads a text, and chooses on a network.
fn choose(text: &str, network: Network) -> Result<Destination> {
    parse(text)?.choose(&payer(network))
}

fn code(text: &str, network: Network) -> &'static str {
    match choose(text, network) {
        Ok(chosen) => panic!("{text} is {chosen:?}"),
        Err(error) => error.code(),
    }
}

fn method(text: &str) -> PaymentMethod {
    match parse(text).unwrap().ways.remove(0).unwrap() {
        Destination::Lightning(destination) => destination.method,
        other => panic!("{text} is {other:?}"),
    }
}

#[test]
fn destinations_are_told_apart() {
    let single = |text: &str| parse_single(text).unwrap();
    assert!(matches!(single(ARK), Destination::Ark(_)));
    assert!(matches!(single(REGTEST), Destination::Bitcoin(_)));
    assert_eq!(method(BOLT11), PaymentMethod::Invoice(BOLT11.into()));
    assert_eq!(method(OFFER), PaymentMethod::Offer(OFFER.into()));
    let address = "alice@example.com";
    assert_eq!(
        method(address),
        PaymentMethod::LightningAddress(address.into())
    );
    for nonsense in [
        "",
        " ",
        "hello",
        "tark1",
        "lnbc1",
        "lightning:",
        &format!("{ARK} "),
        &ARK.replace("ptd4", "ptd5"),
        &BOLT11.replace("pvjl", "pvjm"),
    ] {
        assert_eq!(
            parse(nonsense).unwrap_err().code(),
            "invalid_destination",
            "{nonsense:?}"
        );
    }
}

#[test]
fn upper_case_and_schemes_are_read_and_stored_in_one_form() {
    let upper = PaymentMethod::Invoice(BOLT11_UPPER.to_lowercase());
    assert_eq!(method(BOLT11_UPPER), upper);
    assert_eq!(method(&format!("LIGHTNING:{BOLT11_UPPER}")), upper);
    assert_eq!(method(&format!("lightning://{BOLT11_UPPER}")), upper);
    let lnurl = PaymentMethod::Lnurl(LNURL.to_lowercase());
    assert_eq!(method(LNURL), lnurl);
    assert_eq!(method(&format!("lightning:{LNURL}")), lnurl);
    let url = "lnurlp://service.com/api?q=3fc3645b439ce8e7f2553a69e5267081d96dcd340693afabe04be7b0ccd178df";
    assert_eq!(method(url), lnurl, "the same URL");
    assert!(matches!(
        choose(&ARK.to_uppercase(), Network::Bitcoin)
            .unwrap_err()
            .code(),
        "wrong_network"
    ));
}

#[test]
fn what_belongs_to_another_network_is_refused() {
    for text in [BOLT11, BOLT11_UPPER, OFFER] {
        assert!(choose(text, Network::Bitcoin).is_ok(), "{text}");
        for other in [Network::Regtest, Network::Signet, Network::Testnet] {
            assert_eq!(code(text, other), "wrong_network", "{text}");
        }
    }
    assert!(choose(REGTEST, Network::Regtest).is_ok());
    assert_eq!(code(REGTEST, Network::Bitcoin), "wrong_network");
    assert_eq!(code(&ark(1), Network::Bitcoin), "wrong_network");
    assert_eq!(code(&ark(3), Network::Regtest), "wrong_server");
}

#[test]
fn lnurls_that_are_no_payment_are_refused() {
    for text in [
        "keyauth://example.com?k1=00",
        "lnurlw://example.com/x",
        "lnurlc://example.com",
    ] {
        assert_eq!(code(text, Network::Bitcoin), "unsupported_lnurl");
    }
}

/// The examples of BIP-321 and BIP-21.
#[test]
fn the_examples_of_the_bips_are_read() {
    let address = "175tWpb8K1S7NmH4Zx6rewF9WQrcZv245W";
    let amount = |query: &str| parse(&format!("bitcoin:{address}{query}")).map(|uri| uri.amount);
    assert_eq!(amount("").unwrap(), None);
    assert_eq!(amount("?label=Luke-Jr").unwrap(), None);
    let asked = amount("?amount=20.3&label=Luke-Jr").unwrap();
    assert_eq!(asked, Some(Amount::from_sat(2_030_000_000)));
    let asked = amount("?amount=50&label=Luke-Jr&message=Donation%20for%20project%20xyz");
    assert_eq!(asked.unwrap(), Some(Amount::from_int_btc(50)));
    let refused = amount("?req-somethingyoudontunderstand=50&req-somethingelseyoudontget=999");
    assert_eq!(refused.unwrap_err().code(), "unsupported_uri");
    let ignored = amount("?somethingyoudontunderstand=50&somethingelseyoudontget=999");
    assert_eq!(ignored.unwrap(), None);
    let chosen = choose(
        "BITCOIN:1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
        Network::Bitcoin,
    );
    assert!(matches!(chosen, Ok(Destination::Bitcoin(_))));
}

#[test]
fn a_uri_names_one_valid_amount_or_none() {
    for amount in [
        "0",
        "-1",
        "+1",
        "1e3",
        "50,000.00",
        "",
        ".",
        "0.000000001",
        "21000001",
        "x",
        "1&amount=1",
    ] {
        let uri = format!("bitcoin:{REGTEST}?amount={amount}");
        assert_eq!(parse(&uri).unwrap_err().code(), "invalid_amount", "{uri}");
    }
    let uri = parse(&format!("bitcoin:{REGTEST}?AMOUNT=0.00001000")).unwrap();
    let sats = |sats| Some(Amount::from_sat(sats));
    assert_eq!(uri.agreed_amount(None).unwrap(), sats(1_000));
    assert_eq!(uri.agreed_amount(sats(1_000)).unwrap(), sats(1_000));
    assert_eq!(
        uri.agreed_amount(sats(999)).unwrap_err().code(),
        "amount_mismatch"
    );
}

#[test]
fn the_first_usable_way_of_a_uri_is_chosen() {
    let (own, foreign) = (ark(1), ark(3));
    let regtest = |uri: &str| choose(uri, Network::Regtest).unwrap();
    let all = format!("bitcoin:{REGTEST}?lightning={BOLT11}&lno={OFFER}&ark={own}");
    assert!(matches!(regtest(&all), Destination::Ark(_)));
    assert!(matches!(regtest(&all.to_uppercase()), Destination::Ark(_)));
    let all = format!("bitcoin:{REGTEST}?ark={foreign}&lightning={BOLT11}");
    assert!(
        matches!(regtest(&all), Destination::Bitcoin(_)),
        "the invoice is for another network"
    );
    let lightning = format!("bitcoin:?ark={foreign}&lightning=garbage&lno={OFFER}");
    let Ok(Destination::Lightning(chosen)) = choose(&lightning, Network::Bitcoin) else {
        panic!("the offer can be paid");
    };
    assert_eq!(chosen.method, PaymentMethod::Offer(OFFER.into()));
    let escaped = format!("bitcoin:?lightning=lightning%3A{BOLT11}");
    assert!(choose(&escaped, Network::Bitcoin).is_ok());
}

#[test]
fn a_uri_without_a_usable_way_tells_why_the_first_is_none() {
    for uri in [
        "bitcoin:",
        "bitcoin:?amount=1",
        "bitcoin:?sp=sp1x",
        "bitcoin:nonsense",
        "bitcoin:?ark=tark1",
    ] {
        assert_eq!(code(uri, Network::Regtest), "invalid_destination", "{uri}");
    }
    let foreign = format!("bitcoin:?ark={}&lightning={BOLT11}", ark(3));
    assert_eq!(code(&foreign, Network::Regtest), "wrong_server");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = choose(&text, Network::Regtest);
    }

    #[test]
    fn no_text_that_looks_like_a_destination_makes_the_parser_panic(
        start in prop::sample::select(vec![
            "bitcoin:", "BITCOIN:?ark=", "bitcoin:?lightning=", "bitcoin:?amount=", "lightning:", "lnurlp://", "LNURL1", "lnbc1",
            "lnbcrt1", "lno1", "lni1", "tark1p", "ark1p", "bcrt1", "a@", "keyauth:", ARK, BOLT11, BOLT11_UPPER, OFFER, LNURL,
        ]),
        cut in 0usize..400,
        end in "[ -~üπ\u{0}]{0,40}",
    ) {
        let kept: String = start.chars().take(cut).collect();
        let _ = choose(&format!("{kept}{end}"), Network::Regtest);
        let _ = choose(&format!("{start}{end}"), Network::Bitcoin);
    }
}
