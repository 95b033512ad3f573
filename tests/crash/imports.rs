//! Imports of VTXOs.

use ark_lib::{Address, ProtocolEncoding};
use bitcoin::hex::DisplayHex;
use serde_json::json;

use super::matrix::Run;
use super::scene::Scene;
use crate::hostile::payer::Payer;

/// What each case imports, in sat.
const AMOUNT: u64 = 6_000;

/// The victim imports a payment that was never delivered, and its caller repeats the request.
pub async fn import(run: &mut Run) {
    let mut scene = Scene::new().await.with_partial_history();
    let payer = Payer::connect(&scene.world).await;
    let mut owned = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        let to: Address = scene.victim.address().await.parse().expect("an address");
        let input = payer.board(&scene.world, AMOUNT + 5_000).await;
        let rest = input.amount().to_sat() - AMOUNT;
        let vtxos = payer.sign(&input, &to, &[AMOUNT, rest]).await;
        payer.upload(&vtxos).await;
        let hex: Vec<String> = vtxos
            .iter()
            .map(|it| it.serialize().to_lower_hex_string())
            .collect();
        let body = json!({"vtxos": hex});
        scene.arm(&case).await;
        let reply = scene.post("/wallet/import-vtxo", body.clone()).await;
        assert_eq!(reply.is_none(), case.kills(), "{reply:?}");
        scene.wait_for_kill(&case).await;
        scene.restart(&case).await;
        let stored = case.kills_at("import.stored.before");
        let expected = if stored { "stored" } else { "known" };
        let again = scene.victim.post("/wallet/import-vtxo", body).await.ok();
        for entry in again.as_array().expect("a list") {
            assert_eq!(entry["outcome"], expected, "{case}");
        }
        owned += AMOUNT + rest;
        scene.victim.wait_for_spendable(owned).await;
    }
}
