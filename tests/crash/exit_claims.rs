//! Exits that are claimed, and the coin that is split so that exits go on side by side.

use arkwalletd_sandbox::coin_wallet::CoinKey;
use serde_json::json;

use super::matrix::Run;
use super::scene::Scene;
use crate::support::{World, eventually};

/// The victim claims an exit; the payee gets it once.
pub async fn claim(run: &mut Run) {
    let mut scene = Scene::new().await.with_wrong_ledger();
    let mut number = 0;
    while let Some(case) = run.next_case(&mut scene).await {
        number += 1;
        let payee = CoinKey::derive(&scene.world.seed, &format!("payee {number}"));
        let payee = payee.address().to_string();
        scene.victim.fund_and_board(&scene.world, 60_000).await;
        let vtxo = scene.victim.only_vtxo().await;
        let amount = scene.victim.vtxo(&vtxo).await["amount_sat"].as_u64();
        scene.victim.exit(std::slice::from_ref(&vtxo)).await;
        scene
            .victim
            .exit_until(&scene.world, &vtxo, "claimable")
            .await;

        scene.arm(&case).await;
        let claim = json!({"destination": payee});
        let reply = scene.post("/exits/claim/all", claim.clone()).await;
        assert_eq!(reply.is_none(), case.kills(), "{reply:?}");
        scene.wait_for_kill(&case).await;
        scene.restart(&case).await;
        if case.kills_at("exit.claim_signed.before") {
            assert!(mempool(&scene.world).await.is_empty());
            assert_eq!(scene.victim.exit_state(&vtxo).await, "claimable");
            scene.victim.post("/exits/claim/all", claim).await.ok();
        } else {
            let again = scene.victim.post("/exits/claim/all", claim).await;
            again.refused(400, "nothing_claimable");
        }
        eventually("the claim is broadcast", async || {
            (mempool(&scene.world).await.len() == 1).then_some(())
        })
        .await;
        scene
            .victim
            .exit_until(&scene.world, &vtxo, "claimed")
            .await;
        let received = scene.world.received(&payee).await;
        let least = amount.unwrap() - 1_000;
        assert!((least..amount.unwrap()).contains(&received), "{received}");
    }
}

/// The victim starts two exits with one coin, which is split once.
pub async fn split(run: &mut Run) {
    let mut scene = Scene::new().await.with_wrong_ledger();
    while let Some(case) = run.next_case(&mut scene).await {
        let faucet = scene.world.sandbox.faucet.address().to_string();
        let drain = json!({"destination": faucet});
        scene.victim.post_empty("/onchain/sync").await.ok();
        scene.victim.post("/onchain/drain", drain).await;
        scene.world.mine(1).await;
        scene.victim.fund(&scene.world, 200_000).await;
        scene.victim.board(&scene.world, 30_000).await;
        scene.victim.board(&scene.world, 40_000).await;
        scene.victim.post_empty("/onchain/sync").await.ok();
        let coins = scene.victim.get("/onchain/utxos").await.ok();
        assert_eq!(coins.as_array().map(Vec::len), Some(1), "{coins:#}");

        scene.arm(&case).await;
        scene.victim.post_empty("/exits/start/all").await.ok();
        let reply = scene.post("/exits/progress", json!({"wait": true})).await;
        assert_eq!(reply.is_none(), case.kills(), "{reply:?}");
        scene.wait_for_kill(&case).await;
        scene.restart(&case).await;
        eventually("the coin is split", async || {
            scene.victim.progress().await;
            (mempool(&scene.world).await.len() == 1).then_some(())
        })
        .await;
        scene.victim.next_block(&scene.world).await;
        scene.victim.progress().await;
        // Two transactions, each with its child.
        assert_eq!(mempool(&scene.world).await.len(), 4);
        scene.victim.next_block(&scene.world).await;
        scene.victim.progress().await;
        let exits = scene.victim.exits("live").await;
        for vtxo in &exits {
            assert_eq!(scene.victim.exit_state(vtxo).await, "awaiting-delta");
        }
        for vtxo in &exits {
            let victim = &scene.victim;
            victim.exit_until(&scene.world, vtxo, "claimable").await;
        }
        let claim = json!({"destination": faucet});
        scene.victim.post("/exits/claim/all", claim).await.ok();
        for vtxo in &exits {
            let victim = &scene.victim;
            victim.exit_until(&scene.world, vtxo, "claimed").await;
        }
    }
}

async fn mempool(world: &World) -> Vec<bitcoin::Txid> {
    let mempool = world.sandbox.chain.mempool().await;
    mempool.expect("the chain answers")
}
