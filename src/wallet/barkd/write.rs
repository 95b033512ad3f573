//! Writes the fresh datadir.

use std::collections::HashMap;
use std::time::Duration;

use ark_lib::lightning::{Invoice as AnyInvoice, PaymentHash, Preimage};
use bitcoin::Amount;
use bitcoin::secp256k1::PublicKey;
use bitcoin_ext::BlockDelta;
use lightning_invoice::Bolt11Invoice;

use super::source::Source;
use crate::config::FeeCeiling;
use crate::datadir::{self, DataDir};
use crate::model::{
    Invoice, InvoiceOutcome, Movement, MovementStatus, OperationId, PaymentMethod, Subsystem,
};
use crate::onchain;
use crate::store::barkd::{BarkdWallet, PaidInvoice};
use crate::store::{
    self, Store, WriteTx, key, lightning_receive, lightning_send, mailbox, movement, vtxo, wallet,
};
use crate::wallet::account::keys::WalletKeys;
use crate::wallet::{Error, Result};

/// Writes seed, configuration, token and database.
pub(super) async fn datadir(fresh: &DataDir, source: Source) -> Result<()> {
    let Source {
        mut wallet,
        keys,
        words,
        config,
        ceilings,
        auth_token,
    } = source;
    datadir::write_new(&fresh.mnemonic(), words.as_bytes()).map_err(Error::internal)?;
    datadir::write_new(&fresh.config(), &config).map_err(Error::internal)?;
    if let Some(token) = auth_token {
        datadir::write_new(&fresh.auth_token(), &token).map_err(Error::internal)?;
    }
    let chain = std::mem::take(&mut wallet.chain);
    let change = onchain::imported_change(keys.onchain_root(), wallet.identity.network, chain)?;
    let store = Store::open(&fresh.database())?;
    store
        .write(move |tx| {
            store::onchain::insert_change(tx, &change)?;
            write(tx, &wallet, &keys, &ceilings.lightning_receive)
        })
        .await?;
    // Closing the database blocks until its writer thread has ended.
    tokio::task::spawn_blocking(move || drop(store))
        .await
        .map_err(Error::internal)?;
    datadir::sync_directory(fresh.path()).map_err(Error::internal)
}

/// `receive_fee` limits what the Ark server may keep of a Lightning receive.
fn write(
    tx: &mut WriteTx<'_>,
    from: &BarkdWallet,
    keys: &WalletKeys,
    receive_fee: &FeeCeiling,
) -> Result<()> {
    let identity = &from.identity;
    wallet::insert(tx, identity.network, identity.fingerprint)?;
    if let Some((server, mailbox)) = identity.server_keys {
        wallet::pin_server(tx, server, mailbox)?;
    }
    // A cursor is a number of the server, so it means the same to every program that reads this mailbox.
    mailbox::advance_cursor(tx, from.cursor)?;
    let indexes = write_keys(tx, from, keys)?;
    let mut registered = Vec::new();
    for it in &from.vtxos {
        vtxo::insert(tx, &it.vtxo, it.state.clone())?;
        if it.claimed {
            vtxo::set_claimed(tx, it.vtxo.id(), true)?;
        }
        registered.extend(it.registered.then(|| it.vtxo.id()));
    }
    vtxo::set_registered(tx, &registered, true)?;
    vtxo::set_backed_up(tx, &registered)?;
    let paid: HashMap<PaymentHash, &PaidInvoice> =
        from.paid.iter().map(|paid| (paid.hash, paid)).collect();
    for it in &from.movements {
        let payment = payment(it, &paid);
        let operation = payment
            .as_ref()
            .map(|(paid, _)| OperationId::lightning_send(paid.hash));
        movement::import(tx, it, operation.as_ref())?;
        if let Some((paid, invoice)) = payment {
            let amount = it.sent_to.iter().map(|transfer| transfer.amount).sum();
            lightning_send::begin(tx, &invoice, amount, paid.paid_at)?;
            lightning_send::set_preimage(tx, paid.hash, paid.preimage)?;
        }
    }
    for receive in &from.received {
        let key_index = key_of(from, receive.hash, &indexes).unwrap_or_default();
        let invoice = invoice(receive.hash, receive.preimage, &receive.bolt11, key_index)?;
        lightning_receive::insert(tx, &invoice)?;
        let settled = InvoiceOutcome::Settled;
        lightning_receive::accept(tx, receive.hash, receive.settled_at)?;
        lightning_receive::end(tx, receive.hash, settled, None, receive.settled_at)?;
    }
    for receive in &from.open {
        let known = indexes.values().any(|index| *index == receive.key_index);
        if !known {
            return Err(
                store::Error::corrupt("key", "an unpaid invoice has an unknown one").into(),
            );
        }
        let read = invoice(
            receive.hash,
            receive.preimage,
            &receive.bolt11,
            receive.key_index,
        )?;
        let open = Invoice {
            fee: receive_fee.largest(read.amount),
            min_cltv: receive.min_cltv,
            token: receive.token.clone(),
            destination: receive.destination.clone(),
            ..read
        };
        lightning_receive::insert(tx, &open)?;
    }
    Ok(())
}

/// Stores the keys, and those between them, up to the highest index. Returns the indexes.
fn write_keys(
    tx: &WriteTx<'_>,
    from: &BarkdWallet,
    keys: &WalletKeys,
) -> Result<HashMap<PublicKey, u32>> {
    let theirs: HashMap<u32, PublicKey> = from.keys.iter().copied().collect();
    let count = from.keys.iter().map(|(index, _)| index + 1).max();
    let mut indexes = HashMap::new();
    for index in 0..count.unwrap_or_default() {
        let pubkey = keys.vtxo_key(index)?.public_key();
        if theirs.get(&index).is_some_and(|key| *key != pubkey) {
            return Err(
                store::Error::corrupt("key", format!("key {index} is not of the seed")).into(),
            );
        }
        key::insert(tx, index, &pubkey)?;
        indexes.insert(pubkey, index);
    }
    Ok(indexes)
}

/// The payment that a movement is, and its invoice. `None` if it is none, or if barkd has not kept the invoice: then it cannot be paid
/// again, because each payment to an offer or a Lightning address gets another invoice.
fn payment<'a>(
    movement: &Movement,
    paid: &HashMap<PaymentHash, &'a PaidInvoice>,
) -> Option<(&'a PaidInvoice, AnyInvoice)> {
    if movement.subsystem != Subsystem::LightningSend
        || movement.status != MovementStatus::Successful
    {
        return None;
    }
    let paid = paid.get(&hash_of(movement)?)?;
    let invoices = movement.sent_to.iter().filter_map(|to| match &to.method {
        PaymentMethod::Invoice(text) => text.parse::<AnyInvoice>().ok(),
        _ => None,
    });
    let mut fitting = invoices.filter(|invoice| invoice.payment_hash() == paid.hash);
    Some((paid, fitting.next()?))
}

fn hash_of(movement: &Movement) -> Option<PaymentHash> {
    movement
        .metadata
        .get("payment_hash")?
        .as_str()?
        .parse()
        .ok()
}

/// The index of the key that got the money of a receive.
fn key_of(from: &BarkdWallet, hash: PaymentHash, indexes: &HashMap<PublicKey, u32>) -> Option<u32> {
    let mut movements = from.movements.iter();
    let movement = movements
        .find(|it| it.subsystem == Subsystem::LightningReceive && hash_of(it) == Some(hash))?;
    let output = movement.output_vtxos.first()?;
    let mut vtxos = from.vtxos.iter();
    let vtxo = vtxos.find(|it| it.vtxo.id() == *output)?;
    indexes.get(&vtxo.vtxo.user_pubkey()).copied()
}

/// An invoice, with no fee and for the wallet itself.
fn invoice(hash: PaymentHash, preimage: Preimage, text: &str, key_index: u32) -> Result<Invoice> {
    let bolt11: Bolt11Invoice = text
        .parse()
        .map_err(|error| store::Error::corrupt("Lightning invoice", error))?;
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let created_at = bolt11.duration_since_epoch();
    let amount = bolt11.amount_milli_satoshis().unwrap_or_default() / 1_000;
    Ok(Invoice {
        hash,
        preimage,
        bolt11: text.to_owned(),
        amount: Amount::from_sat(amount.max(1)),
        fee: Amount::ZERO,
        key_index,
        min_cltv: BlockDelta::new(0),
        token: None,
        destination: None,
        external_id: None,
        created_at: millis(created_at),
        expires_at: millis(created_at.saturating_add(bolt11.expiry_time())),
        accepted_at: None,
        end: None,
    })
}
