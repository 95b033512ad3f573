//! The books of a world: what the chain, the Ark server and the wallets say about all money since the faucet gave it out.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use arkwalletd_sandbox::ark::VtxoRecord;
use arkwalletd_sandbox::coin_wallet::CoinKey;
use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, OutPoint, Script, ScriptBuf, Transaction, TxOut};
use serde_json::Value;

use super::daemon::Daemon;
use super::money::{assert_history_adds_up, assert_lightning_conserved, total};
use super::world::World;

/// Every confirmed transaction but those that mine coins.
pub struct Books {
    outputs: HashMap<OutPoint, TxOut>,
    spent: HashSet<OutPoint>,
    transactions: Vec<Transaction>,
    faucet: ScriptBuf,
    server: ScriptBuf,
}

/// The script of an output that pays for its transaction (P2A).
const ANCHOR: [u8; 4] = [0x51, 0x02, 0x4e, 0x73];

/// Who signed a transaction.
#[derive(PartialEq)]
enum Payer {
    Faucet,
    Server,
    Wallet,
}

impl Books {
    /// Confirms what waits in the mempool, and reads the chain.
    pub async fn read(world: &World) -> Books {
        let chain = &world.sandbox.chain;
        if !chain.mempool().await.expect("the chain answers").is_empty() {
            world.mine(1).await;
        }
        let left = chain.mempool().await.expect("the chain answers");
        assert!(left.is_empty(), "not mined: {left:?}");
        let mut books = Books {
            outputs: HashMap::new(),
            spent: HashSet::new(),
            transactions: Vec::new(),
            faucet: world.sandbox.faucet.address().script_pubkey(),
            server: CoinKey::derive(&world.seed, "ark server").script(),
        };
        for height in 1..=world.height().await {
            let block = chain.block(height).await.expect("the chain answers");
            for tx in block.expect("it is below the tip").txdata {
                books.enter(tx);
            }
        }
        books
    }

    fn enter(&mut self, tx: Transaction) {
        let txid = tx.compute_txid();
        let outputs = (0..).zip(&tx.output);
        let outputs = outputs.map(|(vout, output)| (OutPoint { txid, vout }, output.clone()));
        self.outputs.extend(outputs);
        if !tx.is_coinbase() {
            let inputs = tx.input.iter().map(|input| input.previous_output);
            self.spent.extend(inputs);
            self.transactions.push(tx);
        }
    }

    /// Each amount that an address has received, in sat, whether it has been spent since or not.
    pub fn received(&self, address: &str) -> Vec<u64> {
        let script = script_of(address);
        let outputs = self.transactions.iter().flat_map(|tx| &tx.output);
        let to_address = outputs.filter(|output| output.script_pubkey == script);
        to_address.map(|output| output.value.to_sat()).collect()
    }

    /// An unspent coin's amount in sat.
    fn unspent(&self, outpoint: &str) -> Option<u64> {
        let outpoint = OutPoint::from_str(outpoint).expect("an outpoint");
        let output = self.outputs.get(&outpoint)?;
        (!self.spent.contains(&outpoint)).then(|| output.value.to_sat())
    }

    fn payer(&self, tx: &Transaction) -> Payer {
        let pays = |script: &Script| {
            let mut inputs = tx.input.iter();
            inputs.any(|input| self.outputs[&input.previous_output].script_pubkey == *script)
        };
        let takes = |output: &TxOut| output.script_pubkey == self.server;
        if pays(&self.server) {
            Payer::Server
        } else if pays(&self.faucet) {
            Payer::Faucet
        } else if tx.output.iter().any(takes) {
            // It takes what is its own after an exit.
            Payer::Server
        } else {
            Payer::Wallet
        }
    }

    /// What wallets have taken from the anchors of exit transactions: the fee of a board is in one, and comes back with its exit.
    fn anchors_taken(&self) -> u64 {
        let of_wallets = self.transactions.iter();
        let of_wallets = of_wallets.filter(|tx| self.payer(tx) == Payer::Wallet);
        let spent = of_wallets.flat_map(|tx| &tx.input);
        let spent = spent.map(|input| &self.outputs[&input.previous_output]);
        spent
            .filter(|output| output.script_pubkey.as_bytes() == ANCHOR)
            .map(|output| output.value.to_sat())
            .sum()
    }

    fn miner_fee(&self, tx: &Transaction) -> u64 {
        let inputs = tx.input.iter();
        let spent = inputs.map(|input| self.outputs[&input.previous_output].value.to_sat());
        let created = tx.output.iter().map(|output| output.value.to_sat());
        spent.sum::<u64>() - created.sum::<u64>()
    }

    /// What the faucet gave to others than the Ark server.
    fn given(&self) -> u64 {
        self.paid_by(
            |payer| payer == Payer::Faucet,
            |script| *script != self.faucet && *script != self.server,
        )
    }

    /// What left the world of the wallets: to the faucet, or to one of these scripts.
    fn paid_out(&self, payees: &[ScriptBuf]) -> u64 {
        self.paid_by(
            |payer| payer != Payer::Faucet,
            |script| *script == self.faucet || payees.iter().any(|payee| payee == script),
        )
    }

    fn paid_by(&self, payer: impl Fn(Payer) -> bool, to: impl Fn(&Script) -> bool) -> u64 {
        let transactions = self.transactions.iter();
        let outputs = transactions
            .filter(|tx| payer(self.payer(tx)))
            .flat_map(|tx| &tx.output);
        let to_them = outputs.filter(|output| to(&output.script_pubkey));
        to_them.map(|output| output.value.to_sat()).sum()
    }

    /// The fees of the transactions that wallets signed.
    fn miner_fees(&self) -> u64 {
        let of_wallets = self.transactions.iter();
        let of_wallets = of_wallets.filter(|tx| self.payer(tx) == Payer::Wallet);
        of_wallets.map(|tx| self.miner_fee(tx)).sum()
    }
}

/// Asserts that no sat is missing: what the faucet gave and the world paid over Lightning is in the on-chain wallets, off chain, paid
/// to one of these addresses, to the faucet or over Lightning to the world, or a fee of a miner or of the Ark server. Coins are counted
/// as the chain and the server's ledger have them, Lightning payments as the nodes have them, and the wallets have to agree. No
/// operation may be under way.
pub async fn assert_balanced(world: &World, daemons: &[&Daemon], payees: &[String]) {
    let books = Books::read(world).await;
    let (mut onchain, mut offchain, mut server_fees) = (0, 0, 0);
    let mut exits = Vec::new();
    for daemon in daemons {
        daemon.wait_for_tip(world).await;
        onchain += onchain_by_the_chain(&books, daemon).await;
        assert_history_adds_up(daemon).await;
        offchain += u64::try_from(total(daemon).await).expect("it is not negative");
        let history = daemon.history().await;
        server_fees += fees(&history);
        exits.extend(exits_of(world, &history));
    }
    let ledger = world.sandbox.ark.ledger().expect("the server has a ledger");
    let owed = (ledger.spendable.amount + ledger.unregistered.amount).to_sat();
    assert_eq!(offchain, owed, "{ledger:?}");
    assert_eq!(ledger.unclaimed.count, 0, "{ledger:?}");
    let exited: u64 = exits.iter().map(|(sats, _)| sats).sum();
    assert_eq!(
        ledger.exited.amount.to_sat(),
        exited,
        "{ledger:?} {exits:#?}"
    );
    let payees: Vec<ScriptBuf> = payees.iter().map(|payee| script_of(payee)).collect();
    let (paid_out, miner_fees) = (books.paid_out(&payees), books.miner_fees());
    assert_lightning_conserved(world, daemons).await;
    let lightning = world.lightning_ledger().network;
    let sats = |msat: i64| u64::try_from(msat / 1_000).expect("it is not negative");
    let (received, sent) = (sats(lightning.received_msat), sats(lightning.sent_msat));
    server_fees -= books.anchors_taken();
    let found = onchain + offchain + paid_out + miner_fees + server_fees + sent;
    assert_eq!(
        books.given() + received,
        found,
        "on chain {onchain}, off chain {offchain}, paid out {paid_out}, miner fees {miner_fees}, server fees {server_fees}, \
         over Lightning: in {received}, out {sent}"
    );
}

/// The balance of an on-chain wallet, in sat; the chain has to have each of its coins.
async fn onchain_by_the_chain(books: &Books, daemon: &Daemon) -> u64 {
    daemon.post_empty("/onchain/sync").await.ok();
    let coins = daemon.get("/onchain/utxos").await.ok();
    let mut sum = 0;
    for coin in coins.as_array().expect("a list") {
        let amount = coin["amount_sat"].as_u64();
        let outpoint = coin["outpoint"].as_str().expect("an outpoint");
        assert_eq!(amount, books.unspent(outpoint), "{coin}");
        sum += amount.expect("a number");
    }
    let balance = daemon.get("/onchain/balance").await.ok();
    assert_eq!(balance["total_sat"], sum, "{coins:#}");
    sum
}

/// The Ark server's fees of what succeeded, in sat.
fn fees(history: &[Value]) -> u64 {
    let succeeded = history
        .iter()
        .filter(|movement| movement["status"] == "successful");
    let fees = succeeded.map(|movement| movement["offchain_fee_sat"].as_u64().expect("a number"));
    fees.sum()
}

/// What was taken on chain by exits, in sat, and how the VTXO stands at the Ark server. Without boards that were never registered there:
/// the server does not know these.
fn exits_of(world: &World, history: &[Value]) -> Vec<(u64, VtxoRecord)> {
    let claimed = history.iter().filter(|movement| {
        movement["subsystem"]["name"] == "bark.exit" && movement["status"] == "successful"
    });
    let known = claimed.filter_map(|movement| {
        let amount = movement["effective_balance_sat"]
            .as_i64()
            .expect("a number");
        let vtxo = movement["exited_vtxos"][0].as_str().expect("an id");
        let vtxo = world.sandbox.ark.vtxo(vtxo.parse().expect("an id"));
        Some((amount.unsigned_abs(), vtxo.expect("a ledger")?))
    });
    known.collect()
}

fn script_of(address: &str) -> ScriptBuf {
    let address = Address::<NetworkUnchecked>::from_str(address).expect("a bitcoin address");
    address.assume_checked().script_pubkey()
}
