//! Recovery from the seed, and of a database that is older than the wallet (docs/protocol.md §4.11).

mod backup;
mod lies;
mod older;
mod origins;
mod peers;
mod resume;
mod spent;

use std::collections::BTreeSet;
use std::time::Duration;

use ark_lib::mailbox::MailboxAuthorization;
use ark_lib::{ProtocolEncoding, SECP, VtxoId};
use bitcoin::Network;
use bitcoin::bip32::{ChildNumber, Xpriv};
use bitcoin::secp256k1::Keypair;
use serde_json::{Value, json};

use server_rpc::ServerConnection;
use server_rpc::protos::mailbox_server::{
    MailboxRequest, PostRecoveryVtxoIdsRequest, mailbox_message::Message,
};

use crate::support::{Daemon, World, assert_history_adds_up, creation, eventually};

/// The seed words of a daemon.
pub fn mnemonic(daemon: &Daemon) -> String {
    let words = std::fs::read_to_string(daemon.folder().join("mnemonic"));
    words.expect("it has a wallet").trim().to_owned()
}

/// The body that restores a wallet.
pub fn restoration(world: &World, mnemonic: &str) -> Value {
    let mut request = creation(world, world.chain_source());
    request["mnemonic"] = json!(mnemonic);
    request["birthday_height"] = json!(1);
    request
}

/// A daemon whose wallet is restored from its seed words.
pub async fn restored(world: &World, mnemonic: &str) -> Daemon {
    let daemon = Daemon::start().await;
    let request = restoration(world, mnemonic);
    daemon.post("/wallet/create", request).await.ok();
    daemon
}

/// Waits until the ids and chains of a daemon's VTXOs are at the server.
pub async fn backed_up(daemon: &Daemon) {
    daemon.settled().await;
    daemon.post_empty("/wallet/sync").await.ok();
    eventually("the server's copy is complete", async || {
        let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite"));
        let missing = database.unwrap().query_row(
            "SELECT count(*) FROM vtxo WHERE state <> 'spent' AND (backed_up = 0 OR registered = 0)",
            [],
            |row| row.get::<_, u32>(0),
        );
        (missing.ok() == Some(0)).then_some(())
    })
    .await;
}

/// Stops a daemon for good; answers its seed words.
pub async fn lost(daemon: &mut Daemon) -> String {
    backed_up(daemon).await;
    let words = mnemonic(daemon);
    daemon.stop().await;
    words
}

/// What `GET /wallet` says of the recovery.
pub async fn report(daemon: &Daemon) -> Value {
    daemon.get("/wallet").await.ok()["recovery"].clone()
}

/// Waits until the recovery is over; answers its report.
pub async fn recovered(daemon: &Daemon) -> Value {
    eventually("the recovery is over", async || {
        let report = report(daemon).await;
        (report["phase"] == "done").then_some(report)
    })
    .await
}

/// The VTXOs of a daemon that are not spent, with their states.
pub async fn states(daemon: &Daemon) -> BTreeSet<(String, String)> {
    let all = daemon.get("/wallet/vtxos").await.ok();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let states = all.as_array().expect("a list").iter();
    states
        .map(|vtxo| (text(&vtxo["id"]), text(&vtxo["state"]["type"])))
        .collect()
}

/// Loses the database of a daemon and restores its wallet, which has to be the same; then spends all of it.
pub async fn assert_restored(world: &World, daemon: &mut Daemon) -> Daemon {
    let again = assert_found(world, daemon).await;
    let sats = again.balance("spendable_sat").await;
    assert_spends_all(world, &again, sats).await;
    again
}

/// Loses the database of a daemon and restores its wallet, which has to be the same.
pub async fn assert_found(world: &World, daemon: &mut Daemon) -> Daemon {
    backed_up(daemon).await;
    let had = states(daemon).await;
    let sats = daemon.balance("spendable_sat").await;
    let words = lost(daemon).await;
    let again = restored(world, &words).await;
    let report = report(&again).await;
    assert_eq!(report["phase"], "done", "{report:#}");
    assert_eq!(report["recovered"], had.len(), "{report:#}");
    assert_eq!(states(&again).await, had, "{report:#}");
    // A replayed mailbox brings nothing back, and counts nothing twice (H16, H36).
    again.post_empty("/wallet/sync").await.ok();
    assert_eq!(states(&again).await, had);
    assert_eq!(again.balance("spendable_sat").await, sats);
    assert_history_adds_up(&again).await;
    again
}

/// Pays all that a daemon has to another one.
pub async fn assert_spends_all(world: &World, daemon: &Daemon, sats: u64) {
    let payee = Daemon::with_wallet(world).await;
    daemon.send(&payee.address().await, sats).await.ok();
    payee.wait_for_spendable(sats).await;
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    daemon.settled().await;
    assert_history_adds_up(daemon).await;
}

/// Copies the database of a stopped daemon.
pub fn copy_database(daemon: &Daemon) {
    let backup = daemon.folder().join("backup.sqlite");
    let _ = std::fs::remove_file(&backup);
    rusqlite::Connection::open(daemon.folder().join("db.sqlite"))
        .unwrap()
        .execute("VACUUM INTO ?1", [backup.to_str().unwrap()])
        .unwrap();
}

/// Puts the copy in the place of the database of a stopped daemon.
pub fn put_back(daemon: &Daemon) {
    for file in ["db.sqlite-wal", "db.sqlite-shm"] {
        // It is there only if the daemon has left it.
        let _ = std::fs::remove_file(daemon.folder().join(file));
    }
    let folder = daemon.folder();
    std::fs::rename(folder.join("backup.sqlite"), folder.join("db.sqlite")).unwrap();
}

/// Posts the id of a VTXO to the recovery mailbox of a seed, as anybody can who knows its public key.
pub async fn post_id(world: &World, mnemonic: &str, id: &str) {
    let id: VtxoId = id.parse().unwrap();
    let request = PostRecoveryVtxoIdsRequest {
        mailbox_id: recovery_key(mnemonic).public_key().serialize().to_vec(),
        vtxo_ids: vec![id.to_bytes().to_vec()],
        authorization: None,
    };
    let mut client = server(world).await.mailbox_client.clone();
    client.post_recovery_vtxo_ids(request).await.unwrap();
}

/// The ids in the recovery mailbox of a seed.
pub async fn posted_ids(world: &World, mnemonic: &str) -> BTreeSet<String> {
    let key = recovery_key(mnemonic);
    let expiry = chrono::Local::now() + Duration::from_secs(60);
    let authorization = MailboxAuthorization::new(&key, expiry).serialize();
    let mut client = server(world).await.mailbox_client.clone();
    let (mut ids, mut checkpoint) = (BTreeSet::new(), 0);
    loop {
        let request = MailboxRequest {
            mailbox_id: key.public_key().serialize().to_vec(),
            authorization: Some(authorization.clone()),
            checkpoint,
        };
        let page = client.read_mailbox(request).await.unwrap().into_inner();
        let Some(last) = page.messages.last() else {
            return ids;
        };
        checkpoint = last.checkpoint;
        for message in page.messages {
            if let Some(Message::RecoveryVtxoIds(posted)) = message.message {
                let posted = posted.vtxo_ids.iter();
                ids.extend(posted.map(|id| VtxoId::from_slice(id).unwrap().to_string()));
            }
        }
    }
}

/// The key of the recovery mailbox of a seed.
fn recovery_key(mnemonic: &str) -> Keypair {
    let seed = mnemonic.parse::<bip39::Mnemonic>().unwrap().to_seed("");
    let root = Xpriv::new_master(Network::Regtest, &seed).unwrap();
    let path = [350, 2].map(|index| ChildNumber::Hardened { index });
    root.derive_priv(&SECP, &path).unwrap().to_keypair(&SECP)
}

async fn server(world: &World) -> ServerConnection {
    ServerConnection::builder()
        .address(&world.sandbox.ark_url)
        .network(Network::Regtest)
        .connect()
        .await
        .unwrap()
}
