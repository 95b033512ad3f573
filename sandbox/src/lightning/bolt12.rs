//! BOLT12: the world's offers and their invoices. The Ark server's node requests an invoice without onion messages, because both
//! nodes live in this process.

use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use ark_lib::SECP;
use ark_lib::lightning::{Bolt12Invoice, Invoice, Offer, Preimage};
use bitcoin::Network;
use bitcoin::secp256k1::{Keypair, PublicKey, SecretKey};
use lightning::blinded_path::BlindedHop;
use lightning::blinded_path::payment::{BlindedPayInfo, BlindedPaymentPath};
use lightning::ln::channelmanager::PaymentId;
use lightning::ln::inbound_payment::ExpandedKey;
use lightning::offers::invoice::UnsignedBolt12Invoice;
use lightning::offers::nonce::Nonce;
use lightning::offers::offer::OfferBuilder;
use lightning::types::features::BlindedHopFeatures;
use rusqlite::{OptionalExtension, params};

use super::LightningNetwork;
use super::world::Outcome;

/// How long the invoices of offers are valid.
const EXPIRY: Duration = Duration::from_secs(2 * 3600);

impl LightningNetwork {
    /// Issues an offer of the world; without `amount_msat` the payer chooses the amount.
    pub fn issue_offer(
        &self,
        amount_msat: Option<u64>,
        description: &str,
        outcome: Outcome,
    ) -> anyhow::Result<Offer> {
        // Without a chain, an offer is for the mainnet.
        let mut builder = OfferBuilder::new(self.world_id())
            .chain(Network::Regtest)
            .description(description.to_owned());
        if let Some(amount) = amount_msat {
            builder = builder.amount_msats(amount);
        }
        let offer = builder
            .build()
            .map_err(|error| anyhow!("offer: {error:?}"))?;
        self.store.lock().execute(
            "INSERT OR REPLACE INTO offer (offer, outcome) VALUES (?1, ?2)",
            params![offer.to_string(), serde_json::to_string(&outcome)?],
        )?;
        Ok(offer)
    }

    /// Requests an invoice for an offer. Each request gives a new invoice with a new hash. Fails for offers that are not the world's.
    pub fn fetch_invoice(&self, offer: &Offer, amount_msat: u64) -> anyhow::Result<Bolt12Invoice> {
        let outcome: Option<String> = self
            .store
            .lock()
            .query_row(
                "SELECT outcome FROM offer WHERE offer = ?1",
                [offer.to_string()],
                |row| row.get(0),
            )
            .optional()?;
        let outcome =
            serde_json::from_str(&outcome.context("no path to the issuer of the offer")?)?;
        ensure!(amount_msat > 0, "the amount is zero");
        let preimage = Preimage::random();
        let invoice = self.answer_request(offer, &self.world, amount_msat, preimage)?;
        let expires = invoice.created_at() + invoice.relative_expiry();
        let text = Invoice::Bolt12(invoice.clone()).to_string();
        self.keep_invoice(preimage, &text, expires, outcome, None)?;
        Ok(invoice)
    }

    /// An invoice of the server's node, for an offer that nobody knows.
    pub fn invoice_of_server(&self, amount_msat: u64) -> anyhow::Result<Bolt12Invoice> {
        let offer = OfferBuilder::new(self.server.public_key())
            .chain(Network::Regtest)
            .build()
            .map_err(|error| anyhow!("offer: {error:?}"))?;
        self.answer_request(&offer, &self.server, amount_msat, Preimage::random())
    }

    /// Builds the request of the payer's node and the answer of the issuer.
    fn answer_request(
        &self,
        offer: &Offer,
        issuer: &Keypair,
        amount_msat: u64,
        preimage: Preimage,
    ) -> anyhow::Result<Bolt12Invoice> {
        let refused = |error| anyhow!("the issuer refuses: {error:?}");
        let expanded_key = ExpandedKey::new(rand::random());
        let nonce: [u8; Nonce::LENGTH] = rand::random();
        let nonce = Nonce::try_from(&nonce[..]).map_err(|()| anyhow!("nonce"))?;
        let request = offer
            .request_invoice(&expanded_key, nonce, &SECP, PaymentId(rand::random()))
            .map_err(refused)?
            .chain(Network::Regtest)
            .map_err(refused)?
            .amount_msats(amount_msat)
            .map_err(refused)?
            .build_and_sign()
            .map_err(refused)?;
        let hash = lightning::types::payment::PaymentHash(preimage.compute_payment_hash().into());
        let expiry = u32::try_from(EXPIRY.as_secs())?;
        let unsigned = request
            .respond_with_no_std(vec![self.path()?], hash, self.clock.now())
            .map_err(refused)?
            .relative_expiry(expiry)
            .build()
            .map_err(refused)?;
        unsigned
            .sign(|message: &UnsignedBolt12Invoice| {
                Ok(SECP.sign_schnorr_no_aux_rand(message.as_ref().as_digest(), issuer))
            })
            .map_err(|error| anyhow!("cannot sign the invoice: {error:?}"))
    }

    /// A blinded path with keys that nobody knows: an invoice must have one, and nothing is routed along it.
    fn path(&self) -> anyhow::Result<BlindedPaymentPath> {
        let any_key = || -> anyhow::Result<PublicKey> {
            Ok(SecretKey::from_slice(&rand::random::<[u8; 32]>())?.public_key(&SECP))
        };
        let hop = BlindedHop {
            blinded_node_id: any_key()?,
            encrypted_payload: vec![0; 44],
        };
        Ok(BlindedPaymentPath::from_blinded_path_and_payinfo(
            self.world_id(),
            any_key()?,
            vec![hop],
            BlindedPayInfo {
                fee_base_msat: 0,
                fee_proportional_millionths: 0,
                cltv_expiry_delta: 18,
                htlc_minimum_msat: 1,
                htlc_maximum_msat: u64::from(u32::MAX) * 1_000,
                features: BlindedHopFeatures::empty(),
            },
        ))
    }
}
