//! The exchange with an LNURL-pay server (LUD-06, LUD-12): its terms, then an invoice.

use bitcoin::Amount;
use bitcoin::hashes::{Hash, sha256};
use lightning_invoice::{Bolt11Invoice, Bolt11InvoiceDescriptionRef};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::client::{DEADLINE, printable};
use super::{Client, Endpoint, Error};

/// What a server takes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Terms {
    callback: Url,
    /// In msat.
    min_sendable: u64,
    /// In msat.
    max_sendable: u64,
    /// The invoice commits to its hash.
    metadata: String,
    /// The longest comment in characters; 0 for none.
    comment_allowed: Option<u64>,
}

impl Client {
    /// Requests an invoice over exactly `amount`. The invoice's network is not checked.
    ///
    /// # Errors
    /// There is no such invoice; nothing was paid.
    pub async fn invoice(
        &self,
        endpoint: &Endpoint,
        amount: Amount,
        comment: Option<&str>,
    ) -> Result<Bolt11Invoice, Error> {
        let exchange = tokio::time::timeout(DEADLINE, self.exchange(endpoint, amount, comment));
        exchange.await.unwrap_or_else(|_| {
            let message = format!("no answer within {} seconds", DEADLINE.as_secs());
            Err(Error::Unreachable(message))
        })
    }

    async fn exchange(
        &self,
        endpoint: &Endpoint,
        amount: Amount,
        comment: Option<&str>,
    ) -> Result<Bolt11Invoice, Error> {
        let answer = self.get(endpoint.url()).await?;
        let terms = Terms::read(answer)?;
        // Amounts are at most 21 million bitcoin, so this cannot overflow.
        let msat = amount.to_sat() * 1_000;
        terms.check(msat, comment)?;
        let answer = self.get(&terms.request(msat, comment)).await?;
        terms.read_invoice(&answer, msat)
    }
}

fn check_tag(tag: &str) -> Result<(), Error> {
    match tag {
        "payRequest" => Ok(()),
        "withdrawRequest" => Err(Error::Unsupported("a withdrawal")),
        "channelRequest" => Err(Error::Unsupported("a request for a channel")),
        "login" => Err(Error::Unsupported("a login")),
        _ => Err(Error::InvalidAnswer("it is no payRequest".to_owned())),
    }
}

impl Terms {
    /// The terms in a server's first answer.
    pub(super) fn read(answer: Value) -> Result<Terms, Error> {
        check_tag(answer["tag"].as_str().unwrap_or_default())?;
        serde_json::from_value(answer).map_err(|error| {
            let reason = printable(&error.to_string());
            Error::InvalidAnswer(format!("its terms cannot be read: {reason}"))
        })
    }

    /// Whether the payee takes the amount and the comment.
    pub(super) fn check(&self, msat: u64, comment: Option<&str>) -> Result<(), Error> {
        if !(self.min_sendable..=self.max_sendable).contains(&msat) {
            return Err(Error::AmountOutOfRange {
                min: Amount::from_sat(self.min_sendable.div_ceil(1_000)),
                max: Amount::from_sat(self.max_sendable / 1_000),
            });
        }
        let Some(comment) = comment else {
            return Ok(());
        };
        match self.comment_allowed.unwrap_or(0) {
            0 => Err(Error::CommentNotSupported),
            limit if comment.chars().count() as u64 > limit => Err(Error::CommentTooLong { limit }),
            _ => Ok(()),
        }
    }

    /// The URL that answers with an invoice.
    pub(super) fn request(&self, msat: u64, comment: Option<&str>) -> Url {
        let mut url = self.callback.clone();
        let mut query = url.query_pairs_mut();
        query.append_pair("amount", &msat.to_string());
        if let Some(comment) = comment {
            query.append_pair("comment", comment);
        }
        drop(query);
        url
    }

    /// The invoice in a server's second answer.
    pub(super) fn read_invoice(&self, answer: &Value, msat: u64) -> Result<Bolt11Invoice, Error> {
        let invoice = answer["pr"].as_str().unwrap_or_default();
        let invoice: Bolt11Invoice = invoice
            .parse()
            .map_err(|_| Error::InvalidAnswer("it contains no BOLT11 invoice".to_owned()))?;
        self.check_invoice(&invoice, msat)?;
        Ok(invoice)
    }

    /// Checks that the invoice is over this amount and, if it commits to a description, to the metadata (H41). An invoice with a
    /// plain description commits to nothing else, and is taken.
    fn check_invoice(&self, invoice: &Bolt11Invoice, msat: u64) -> Result<(), Error> {
        if invoice.amount_milli_satoshis() != Some(msat) {
            let message = "its invoice is over another amount";
            return Err(Error::InvalidAnswer(message.to_owned()));
        }
        let expected = sha256::Hash::hash(self.metadata.as_bytes());
        match invoice.description() {
            Bolt11InvoiceDescriptionRef::Hash(hash) if hash.0 != expected => {
                let message = "its invoice is for something else than it describes";
                Err(Error::InvalidAnswer(message.to_owned()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(json: serde_json::Value) -> Terms {
        serde_json::from_value(json).unwrap()
    }

    fn example(comment_allowed: Option<u64>) -> Terms {
        terms(serde_json::json!({
            "tag": "payRequest",
            "callback": "https://example.com/pay?id=7",
            "minSendable": 1_500,
            "maxSendable": 5_999,
            "metadata": "[[\"text/plain\",\"tea\"]]",
            "commentAllowed": comment_allowed,
        }))
    }

    #[test]
    fn the_limits_are_named_in_whole_sat() {
        let terms = example(None);
        let refused = terms.check(1_000, None).unwrap_err().to_string();
        assert!(refused.contains("from 2 to 5 sat"), "{refused}");
        assert!(terms.check(6_000, None).is_err());
        assert_eq!(terms.check(2_000, None), Ok(()));
        assert_eq!(terms.check(5_000, None), Ok(()));
    }

    #[test]
    fn a_comment_has_to_fit() {
        for none in [None, Some(0)] {
            let refused = example(none).check(2_000, Some("hi"));
            assert_eq!(refused, Err(Error::CommentNotSupported));
        }
        let terms = example(Some(3));
        assert_eq!(terms.check(2_000, Some("äöü")), Ok(()));
        let refused = terms.check(2_000, Some("four"));
        assert_eq!(refused, Err(Error::CommentTooLong { limit: 3 }));
    }

    #[test]
    fn amount_and_comment_are_added_to_the_query_of_the_callback() {
        let url = example(None).request(2_000, Some("a & b=ü"));
        assert_eq!(
            url.as_str(),
            "https://example.com/pay?id=7&amount=2000&comment=a+%26+b%3D%C3%BC"
        );
    }

    #[test]
    fn only_pay_requests_are_taken() {
        assert_eq!(check_tag("payRequest"), Ok(()));
        for (tag, code) in [
            ("withdrawRequest", "unsupported_lnurl"),
            ("channelRequest", "unsupported_lnurl"),
            ("login", "unsupported_lnurl"),
            ("", "lnurl_invalid_answer"),
        ] {
            assert_eq!(check_tag(tag).unwrap_err().code(), code);
        }
    }
}
