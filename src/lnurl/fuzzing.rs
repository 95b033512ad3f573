//! What LNURL-pay servers answer, as fuzz targets read it.

use bitcoin::Network;
use reqwest::StatusCode;

use super::client;
use super::pay::Terms;
use super::reach::Reach;

/// 1 sat in msat.
const MSAT: u64 = 1_000;

/// An answer, as the terms and as the invoice. An invoice that is taken is over the amount that was asked for.
pub fn lnurl_answer(bytes: &[u8]) {
    let Ok(answer) = client::understand(StatusCode::OK, bytes) else {
        return;
    };
    let Ok(terms) = Terms::read(answer.clone()) else {
        return;
    };
    let _ = terms.check(MSAT, Some("tea"));
    let request = terms.request(MSAT, Some("tea"));
    let asked = request.query_pairs().filter(|(key, _)| key == "amount");
    assert_eq!(asked.last().expect("it is there").1, "1000", "{request}");
    let _ = Reach::on(Network::Bitcoin).check(&request);
    if let Ok(invoice) = terms.read_invoice(&answer, MSAT) {
        assert_eq!(invoice.amount_milli_satoshis(), Some(MSAT));
    }
}
