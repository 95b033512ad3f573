//! `POST /wallet/import-vtxo`: what is the wallet's and unspent is taken in, once; all else is refused by name, whatever the server
//! says (docs/protocol.md §4.10).

use ark_lib::vtxo::Full;
use ark_lib::{Address, ProtocolEncoding, Vtxo};
use bitcoin::hex::DisplayHex;
use serde_json::{Value, json};

use super::payer::Payer;
use crate::support::{Daemon, Reply, World, eventually, rounds_of};

/// What each VTXO is worth, in sat.
const AMOUNT: u64 = 10_000;

/// A wallet without money, and a payer.
async fn scene() -> (World, Daemon, Payer) {
    let world = World::with(rounds_of(1)).await;
    world.fund_server(2_000_000).await;
    let daemon = Daemon::with_wallet(&world).await;
    let payer = Payer::connect(&world).await;
    (world, daemon, payer)
}

/// A VTXO of the wallet that nobody has delivered, and the payer's input.
async fn grant(world: &World, daemon: &Daemon, payer: &Payer) -> (Vtxo<Full>, Vtxo<Full>) {
    let to: Address = daemon.address().await.parse().expect("an Ark address");
    grant_to(world, payer, &to).await
}

async fn grant_to(world: &World, payer: &Payer, to: &Address) -> (Vtxo<Full>, Vtxo<Full>) {
    let input = payer.board(world, AMOUNT).await;
    let mut vtxos = payer.sign(&input, to, &[AMOUNT]).await;
    payer.upload(&vtxos).await;
    (vtxos.remove(0), input)
}

fn hex(vtxo: &Vtxo<Full>) -> String {
    vtxo.serialize().to_lower_hex_string()
}

impl Daemon {
    async fn import(&self, vtxos: &[&Vtxo<Full>]) -> Reply {
        self.import_with(vtxos, json!({})).await
    }

    async fn import_with(&self, vtxos: &[&Vtxo<Full>], options: Value) -> Reply {
        let mut body = options;
        body["vtxos"] = vtxos.iter().map(|it| hex(it)).collect();
        self.post("/wallet/import-vtxo", body).await
    }

    /// Asserts that an import is refused, and that nothing was stored.
    async fn refuses(&self, vtxos: &[&Vtxo<Full>], status: u16, code: &str) {
        let before = self.get("/wallet/vtxos?all=true").await.ok();
        self.import(vtxos).await.refused(status, code);
        assert_eq!(self.get("/wallet/vtxos?all=true").await.ok(), before);
    }
}

/// The ids and outcomes of an answer.
fn outcomes(reply: Reply) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let answer = reply.ok();
    let list = answer.as_array().expect("a list").iter();
    list.map(|it| (text(&it["id"]), text(&it["outcome"])))
        .collect()
}

fn expected(vtxos: &[(&Vtxo<Full>, &str)]) -> Vec<(String, String)> {
    let of = |(vtxo, outcome): &(&Vtxo<Full>, &str)| (vtxo.id().to_string(), (*outcome).to_owned());
    vtxos.iter().map(of).collect()
}

#[tokio::test]
async fn vtxos_are_imported_once_and_can_be_spent() {
    let (world, mut daemon, payer) = scene().await;
    let (first, _) = grant(&world, &daemon, &payer).await;
    let (second, _) = grant(&world, &daemon, &payer).await;
    let (third, _) = grant(&world, &daemon, &payer).await;
    let reply = daemon.import(&[&first]).await;
    assert_eq!(outcomes(reply), expected(&[(&first, "stored")]));
    // Known ones come first, and a repeated one counts once.
    let reply = daemon.import(&[&third, &second, &first, &third]).await;
    let wanted = [(&first, "known"), (&third, "stored"), (&second, "stored")];
    assert_eq!(outcomes(reply), expected(&wanted));
    daemon.stop().await;
    daemon.restart(None).await;
    let wanted = [(&third, "known"), (&first, "known")];
    assert_eq!(
        outcomes(daemon.import(&[&third, &first]).await),
        expected(&wanted)
    );
    assert_eq!(daemon.balance("spendable_sat").await, 3 * AMOUNT);
    assert!(
        daemon.history().await.is_empty(),
        "an import is no movement"
    );
    daemon.wait_for_connected(true).await;
    let own = daemon.address().await;
    daemon.send(&own, 25_000).await.ok();
    daemon.wait_for_spendable(3 * AMOUNT).await;
    // What was spent meanwhile stays spent.
    let again = daemon.import(&[&first]).await.ok();
    assert_eq!(again[0]["state"]["type"], "spent");
    assert_eq!(daemon.balance("spendable_sat").await, 3 * AMOUNT);
}

#[tokio::test]
async fn what_is_not_the_wallets_or_not_valid_is_refused() {
    let (world, daemon, payer) = scene().await;
    let (good, _) = grant(&world, &daemon, &payer).await;
    let foreign = payer.board(&world, AMOUNT).await;
    daemon
        .refuses(&[&good, &foreign], 400, "vtxo_foreign")
        .await;
    let mut forged = good.clone();
    forged.invalidate_final_sig();
    daemon.refuses(&[&forged], 400, "vtxo_invalid").await;
    let (elsewhere, other, other_payer) = scene().await;
    let to: Address = other.address().await.parse().expect("an Ark address");
    let (unanchored, _) = grant_to(&elsewhere, &other_payer, &to).await;
    // Another server's, and not of this wallet either.
    daemon.refuses(&[&unanchored], 400, "vtxo_foreign").await;
    let text = |body: Value| daemon.post("/wallet/import-vtxo", body);
    text(json!({"vtxos": []})).await.refused(400, "no_vtxos");
    text(json!({"vtxos": ["zz"]}))
        .await
        .refused(400, "invalid_vtxo");
    text(json!({"vtxos": ["00"]}))
        .await
        .refused(400, "invalid_vtxo");
    text(json!({"vtxos": [hex(&good)], "gap_limit": 100_001}))
        .await
        .refused(400, "invalid_gap_limit");
    text(json!({"vtxos": ["00".repeat(1_100_000)]}))
        .await
        .refused(413, "body_too_large");
    assert_eq!(daemon.balance("spendable_sat").await, 0);
}

/// The server says "spendable" of each of them.
#[tokio::test]
async fn what_the_chain_has_taken_is_refused_although_the_server_says_spendable() {
    let (world, daemon, payer) = scene().await;
    let (swept, input) = grant(&world, &daemon, &payer).await;
    world
        .sandbox
        .ark
        .change_watchman(serde_json::from_value(json!({"reactions": false})).expect("settings"));
    world.exit(&input).await;
    world.mine(input.exit_delta().to_u32()).await;
    world.submit(vec![payer.claim(&world, &input)]).await;
    daemon.refuses(&[&swept], 409, "vtxo_undecided").await;
    world.mine(1).await;
    daemon.refuses(&[&swept], 409, "vtxo_swept").await;
    let (expired, _) = grant(&world, &daemon, &payer).await;
    let left = expired.expiry_height().to_u32() - world.height().await;
    world.mine(left).await;
    eventually("the daemon has seen the blocks", async || {
        let tip = daemon.get("/bitcoin/tip").await.ok()["tip_height"].as_u64()?;
        (tip == u64::from(world.height().await)).then_some(())
    })
    .await;
    daemon.refuses(&[&expired], 409, "vtxo_expired").await;
}

#[tokio::test]
async fn what_is_on_chain_is_imported_as_exited() {
    let (world, daemon, payer) = scene().await;
    let (exited, _) = grant(&world, &daemon, &payer).await;
    world.exit(&exited).await;
    let stored = daemon.import(&[&exited]).await.ok();
    assert_eq!(stored[0]["state"]["type"], "exited");
    assert_eq!(daemon.balance("spendable_sat").await, 0);
    assert_eq!(daemon.balance("pending_exit_sat").await, AMOUNT);
}

/// The server's word counts against a VTXO, never for it.
#[tokio::test]
async fn what_the_server_reports_as_spent_or_unfinished_is_refused() {
    let (world, daemon, payer) = scene().await;
    let (vtxo, _) = grant(&world, &daemon, &payer).await;
    for (change, status, code) in [
        ("spent", 409, "vtxo_spent"),
        ("new_state", 503, "server_unavailable"),
    ] {
        let lie = json!({"type": "alter_recovery", "change": change});
        world.fault(json!({"target": "recovery.state", "times": 1, "action": lie}));
        daemon.refuses(&[&vtxo], status, code).await;
        assert_eq!(world.faults_fired("recovery.state"), 1, "{change}");
        world.no_faults();
    }
    let to: Address = daemon.address().await.parse().expect("an Ark address");
    let input = payer.board(&world, AMOUNT).await;
    let unregistered = payer.sign(&input, &to, &[AMOUNT]).await.remove(0);
    daemon
        .refuses(&[&unregistered], 422, "vtxo_in_flight")
        .await;
    payer.upload(std::slice::from_ref(&unregistered)).await;
    daemon.import(&[&vtxo, &unregistered]).await.ok();
    assert_eq!(daemon.balance("spendable_sat").await, 2 * AMOUNT);
}

#[tokio::test]
async fn a_partial_import_stores_what_it_can_and_names_the_rest() {
    let (world, daemon, payer) = scene().await;
    let (good, _) = grant(&world, &daemon, &payer).await;
    let foreign = payer.board(&world, AMOUNT).await;
    daemon
        .refuses(&[&foreign, &good], 400, "vtxo_foreign")
        .await;
    let partial = json!({"allow_partial": true});
    let reply = daemon
        .import_with(&[&foreign, &good], partial.clone())
        .await;
    let refused = reply.headers.get("x-refused-vtxos").cloned();
    assert_eq!(outcomes(reply), expected(&[(&good, "stored")]));
    let refused = refused.expect("the header");
    assert_eq!(refused, format!("{} vtxo_foreign", foreign.id()).as_str());
    let reply = daemon.import_with(&[&foreign], partial).await;
    assert!(outcomes(reply).is_empty());
    assert_eq!(daemon.balance("spendable_sat").await, AMOUNT);
}

#[tokio::test]
async fn the_server_is_not_asked_when_the_caller_says_so() {
    let (world, daemon, payer) = scene().await;
    let (vtxo, input) = grant(&world, &daemon, &payer).await;
    let (swept, exited) = grant(&world, &daemon, &payer).await;
    world.exit(&exited).await;
    world.mine(input.exit_delta().to_u32()).await;
    world.submit(vec![payer.claim(&world, &exited)]).await;
    world.mine(1).await;
    world.fault(json!({"target": "*", "action": {"type": "drop_before"}}));
    daemon.wait_for_connected(false).await;
    let skip = json!({"skip_status_check": true});
    daemon
        .import(&[&vtxo])
        .await
        .refused(503, "server_unavailable");
    let asked = world.sandbox.ark.faults().calls_of("GetVtxoStatus");
    let refused = daemon.import_with(&[&swept], skip.clone()).await;
    refused.refused(409, "vtxo_swept");
    daemon.import_with(&[&vtxo], skip).await.ok();
    assert_eq!(world.sandbox.ark.faults().calls_of("GetVtxoStatus"), asked);
    assert_eq!(daemon.balance("spendable_sat").await, AMOUNT);
}

#[tokio::test]
async fn keys_beyond_the_gap_are_found_with_a_larger_gap() {
    let world = World::with(rounds_of(1)).await;
    let daemon = Daemon::with_wallet(&world).await;
    let payer = Payer::connect(&world).await;
    let phrase = std::fs::read_to_string(daemon.folder().join("mnemonic")).expect("a seed");
    let twin = Daemon::start().await;
    let mut request = crate::support::creation(&world, world.chain_source());
    request["mnemonic"] = json!(phrase);
    request["birthday_height"] = json!(0);
    twin.post("/wallet/create", request).await.ok();
    let mut last = String::new();
    for _ in 0..260 {
        last = twin.address().await;
    }
    let to: Address = last.parse().expect("an Ark address");
    let (far, _) = grant_to(&world, &payer, &to).await;
    daemon.refuses(&[&far], 400, "vtxo_foreign").await;
    let wide = json!({"gap_limit": 400});
    daemon.import_with(&[&far], wide).await.ok();
    assert_eq!(daemon.balance("spendable_sat").await, AMOUNT);
    // The keys before it count as in use from now on.
    let next = daemon.address().await;
    assert_ne!(next, last);
    let listed = daemon.get("/wallet/addresses/index/259").await.ok();
    assert_eq!(listed["address"], last.as_str());
    eventually("the server has its id", async || {
        let database = rusqlite::Connection::open(daemon.folder().join("db.sqlite")).ok()?;
        let backed = database.query_row("SELECT min(backed_up) FROM vtxo", [], |row| {
            row.get::<_, u32>(0)
        });
        (backed.ok()? == 1).then_some(())
    })
    .await;
}
