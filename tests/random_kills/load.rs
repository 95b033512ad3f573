//! Clients that send random requests to a daemon.

use std::sync::PoisonError;
use std::time::Duration;

use arkwalletd_sandbox::coin_wallet::CoinKey;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::daemons::Death;
use super::{Shared, WALLETS};
use crate::support::Daemon;

/// How long a client waits after the answer that something is unreachable.
const RETRY: Duration = Duration::from_millis(200);

/// A payment that was requested. Each goes to an address of its own.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The number of the wallet that was asked to pay.
    pub payer: usize,
    pub way: Way,
    pub to: String,
    /// The amount in sat; `None` for whole VTXOs.
    pub sats: Option<u64>,
    /// The status of the answer; `None` if there was none.
    pub status: Option<u16>,
}

/// How a payment goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Off chain.
    Arkoor,
    /// VTXOs to an on-chain address.
    Offboard,
    /// From the on-chain wallet.
    Onchain,
    /// Over Lightning, to an invoice of the world.
    World,
    /// Over Lightning, to an invoice of a wallet.
    Invoice,
}

/// Sends one request after the other until its daemon is dead.
pub struct Client<'a> {
    pub(super) shared: &'a Shared,
    daemon: &'a Daemon,
    pub(super) number: usize,
    death: &'a Death,
    pub(super) random: StdRng,
}

/// The daemon is dead.
pub(super) struct Dead;

impl<'a> Client<'a> {
    pub fn new(
        shared: &'a Shared,
        daemon: &'a Daemon,
        number: usize,
        death: &'a Death,
        seed: u64,
    ) -> Client<'a> {
        Client {
            shared,
            daemon,
            number,
            death,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Sends requests until the daemon is dead.
    pub async fn run(mut self) {
        while self.request().await.is_ok() {
            let pause = self.random.random_range(0..40);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn request(&mut self) -> Result<(), Dead> {
        if self.shared.is_over() {
            // The daemon goes on with what it has begun until it is killed.
            self.death.notice();
            self.daemon.kill_now();
            return Err(Dead);
        }
        match self.random.random_range(0..100) {
            0..18 => self.pay().await,
            18..26 => self.pay_world().await,
            26..34 => self.pay_invoice().await,
            34..40 => self.offer_invoice().await,
            40..48 => self.offer_address().await,
            48..56 => self.board().await,
            56..64 => self.refresh("refresh", "/wallet/refresh/vtxos").await,
            64..70 => {
                let path = "/wallet/refresh/delegated/vtxos";
                self.refresh("refresh delegated", path).await
            }
            70..72 => self.send("refresh all", "/wallet/refresh/all", None).await,
            72..78 => self.offboard().await,
            78..85 => self.send_onchain().await,
            85..88 => self.pay_onchain().await,
            88..91 => self.fund().await,
            91..93 => self.send("sync", "/wallet/sync", None).await,
            93..95 => self.exit().await,
            95..97 => self.serve_exits().await,
            97..98 => self.cancel_exit().await,
            _ => self.look().await,
        }
    }

    /// Sends a request, and counts its answer.
    pub(super) async fn send(
        &mut self,
        kind: &str,
        path: &str,
        body: impl Into<Option<Value>>,
    ) -> Result<(), Dead> {
        self.answer(kind, "POST", path, body.into()).await.map(drop)
    }

    /// The status of the answer to a request, and its body.
    pub(super) async fn answer(
        &self,
        kind: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<(u16, Value), Dead> {
        if self.death.has_come() {
            return Err(Dead);
        }
        let Ok(reply) = self.daemon.try_send(method, path, body).await else {
            self.shared.count(format!("{kind} -> no answer"));
            self.death.notice();
            return Err(Dead);
        };
        let outcome = match reply.body["code"].as_str() {
            Some(code) => format!("{kind} -> {} {code}", reply.status),
            None => format!("{kind} -> {}", reply.status),
        };
        self.shared.count(outcome);
        assert_ne!(reply.status, 500, "{kind}: {:#}", reply.body);
        if reply.status == 503 {
            tokio::time::sleep(RETRY).await;
        }
        Ok((reply.status, reply.body))
    }

    async fn look(&mut self) -> Result<(), Dead> {
        let paths = [
            "/history",
            "/wallet/vtxos",
            "/wallet/rounds",
            "/wallet",
            "/boards/pending",
        ];
        let path = paths[self.random.random_range(0..paths.len())];
        self.answer("look", "GET", path, None).await.map(drop)
    }

    /// What can be spent off chain, in sat.
    async fn spendable(&self) -> Result<u64, Dead> {
        let (_, balance) = self.answer("look", "GET", "/wallet/balance", None).await?;
        Ok(balance["spendable_sat"].as_u64().unwrap_or(0))
    }

    /// Requests a payment, and records what was answered.
    pub(super) async fn attempt(
        &mut self,
        kind: &str,
        path: &str,
        body: Value,
        attempt: Attempt,
    ) -> Result<(), Dead> {
        if self.death.has_come() {
            return Err(Dead);
        }
        let answer = self.answer(kind, "POST", path, Some(body)).await;
        let status = answer.as_ref().ok().map(|(status, _)| *status);
        let mut attempts = self
            .shared
            .attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        attempts.push(Attempt { status, ..attempt });
        answer.map(drop)
    }

    pub(super) fn to(&self, way: Way, to: &str, sats: impl Into<Option<u64>>) -> Attempt {
        Attempt {
            payer: self.number,
            way,
            to: to.to_owned(),
            sats: sats.into(),
            status: None,
        }
    }

    /// Makes an address that another wallet may pay.
    async fn offer_address(&mut self) -> Result<(), Dead> {
        let path = "/wallet/addresses/next";
        let (_, answer) = self.answer("address", "POST", path, None).await?;
        if let Some(address) = answer["address"].as_str() {
            let mut all = self
                .shared
                .addresses
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            all[self.number].push(address.to_owned());
        }
        Ok(())
    }

    /// Pays another wallet, or its own.
    async fn pay(&mut self) -> Result<(), Dead> {
        let payee = self.random.random_range(0..WALLETS);
        let address = {
            let mut all = self
                .shared
                .addresses
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            all[payee].pop()
        };
        let Some(to) = address else {
            return self.offer_address().await;
        };
        let sats = self.random.random_range(1_000..60_000);
        let body = json!({"destination": to, "amount_sat": sats});
        let attempt = self.to(Way::Arkoor, &to, sats);
        self.attempt("pay", "/wallet/send", body, attempt).await
    }

    async fn board(&mut self) -> Result<(), Dead> {
        let body = json!({"amount_sat": self.random.random_range(20_000..200_000)});
        self.send("board", "/boards/board-amount", body).await
    }

    /// The ids of a few VTXOs.
    pub(super) async fn some_vtxos(&mut self, most: usize) -> Result<Vec<String>, Dead> {
        let (_, vtxos) = self.answer("look", "GET", "/wallet/vtxos", None).await?;
        let free = vtxos.as_array().into_iter().flatten();
        let free: Vec<&Value> = free
            .filter(|vtxo| vtxo["state"]["type"] == "spendable")
            .collect();
        let count = self.random.random_range(1..=most);
        let chosen = free.choose_multiple(&mut self.random, count);
        Ok(chosen
            .filter_map(|vtxo| Some(vtxo["id"].as_str()?.to_owned()))
            .collect())
    }

    async fn refresh(&mut self, kind: &str, path: &str) -> Result<(), Dead> {
        let vtxos = self.some_vtxos(4).await?;
        if vtxos.is_empty() {
            return Ok(());
        }
        self.send(kind, path, json!({"vtxos": vtxos})).await
    }

    /// A bitcoin address that nobody else pays.
    fn outside(&mut self) -> String {
        let seed = self.random.random();
        CoinKey::derive(&seed, "payee").address().to_string()
    }

    /// Offboards a few VTXOs, to the on-chain wallet or to someone else.
    async fn offboard(&mut self) -> Result<(), Dead> {
        let vtxos = self.some_vtxos(3).await?;
        if vtxos.is_empty() {
            return Ok(());
        }
        let path = "/wallet/offboard/vtxos";
        if self.random.random_ratio(2, 3) {
            return self
                .send("offboard home", path, json!({"vtxos": vtxos}))
                .await;
        }
        let to = self.outside();
        let attempt = self.to(Way::Offboard, &to, None);
        let body = json!({"vtxos": vtxos, "address": to});
        self.attempt("offboard", path, body, attempt).await
    }

    async fn send_onchain(&mut self) -> Result<(), Dead> {
        if self.spendable().await? < 100_000 {
            return Ok(());
        }
        let (to, sats) = (self.outside(), self.random.random_range(1_000..20_000));
        let attempt = self.to(Way::Offboard, &to, sats);
        let body = json!({"destination": to, "amount_sat": sats});
        self.attempt("send-onchain", "/wallet/send-onchain", body, attempt)
            .await
    }

    async fn pay_onchain(&mut self) -> Result<(), Dead> {
        let (to, sats) = (self.outside(), self.random.random_range(1_000..20_000));
        let attempt = self.to(Way::Onchain, &to, sats);
        let body = json!({"destination": to, "amount_sat": sats});
        self.attempt("onchain/send", "/onchain/send", body, attempt)
            .await
    }

    /// Lets the faucet pay, when the on-chain wallet is nearly empty.
    async fn fund(&mut self) -> Result<(), Dead> {
        let (_, balance) = self.answer("look", "GET", "/onchain/balance", None).await?;
        if balance["total_sat"].as_u64().unwrap_or(0) > 200_000 {
            return Ok(());
        }
        let path = "/onchain/addresses/next";
        let (_, answer) = self.answer("look", "POST", path, None).await?;
        if let Some(address) = answer["address"].as_str() {
            self.shared.world.pay(address, 500_000).await;
            self.shared.count("paid by the faucet");
        }
        Ok(())
    }
}
