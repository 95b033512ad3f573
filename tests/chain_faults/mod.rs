//! A chain source that loses answers, refuses, answers wrongly, lags or hangs (docs/protocol.md §35.2, row "chain"). The daemons of
//! these tests reach their chain source, an Esplora API or a node, through the sandbox's proxy.

mod broadcast;
mod server;
mod unavailable;
mod wrong_answers;

use serde_json::{Value, json};

use crate::support::{Daemon, World};

/// A kind of request to the chain source.
#[derive(Clone, Copy)]
enum Question {
    Everything,
    Broadcast,
    Tip,
    Transaction,
    Fees,
    Genesis,
}

impl Question {
    /// The paths of the Esplora API, or the RPC methods of the node.
    fn targets(self, world: &World) -> &'static [&'static str] {
        match (self, world.is_simulated()) {
            (Question::Everything, _) => &["*"],
            (Question::Broadcast, true) => &["/tx", "/txs/package"],
            (Question::Broadcast, false) => &["sendrawtransaction", "submitpackage"],
            (Question::Tip, true) => &["/blocks/tip/hash", "/blocks"],
            (Question::Tip, false) => &["getbestblockhash"],
            (Question::Transaction, true) => &["/tx/*", "/tx/*/raw"],
            (Question::Transaction, false) => &["getrawtransaction"],
            (Question::Fees, true) => &["/fee-estimates"],
            (Question::Fees, false) => &["estimatesmartfee"],
            (Question::Genesis, true) => &["/block-height/0"],
            (Question::Genesis, false) => &["getblockhash"],
        }
    }
}

/// Makes a kind of request fail, this many times or always. It has to be made.
fn fail(world: &World, question: Question, times: Option<u32>, action: &Value) {
    let rules = question.targets(world).iter();
    world.one_of_chain_faults(
        rules.map(|target| json!({"target": target, "times": times, "action": action})),
    );
}

fn answer(code: u16, body: impl Into<Value>) -> Value {
    json!({"type": "answer", "code": code, "body": body.into()})
}

/// A 200 whose content is that of an Esplora answer, or the result of an RPC call.
fn answer_with(world: &World, body: impl Into<Value>) -> Value {
    let body = body.into();
    if world.is_simulated() {
        answer(200, body)
    } else {
        answer(200, json!({"result": body}))
    }
}

fn lose_answer() -> Value {
    json!({"type": "drop_after"})
}

/// Each kind of payment from the on-chain wallet.
fn payments(destination: &str) -> [(&'static str, Value); 3] {
    [
        (
            "/onchain/send",
            json!({"destination": destination, "amount_sat": 10_000}),
        ),
        (
            "/onchain/send-many",
            json!({"destinations": [format!("{destination}:10000 sat"), format!("{destination}:5000 sat")]}),
        ),
        ("/onchain/drain", json!({"destination": destination})),
    ]
}

/// The answer that there is no such transaction.
fn deny(world: &World) -> Value {
    if world.is_simulated() {
        return answer(404, "Transaction not found");
    }
    let error = json!({"code": -5, "message": "No such mempool or blockchain transaction."});
    answer(500, json!({"error": error}))
}

async fn onchain_total(daemon: &Daemon) -> u64 {
    daemon.get("/onchain/balance").await.ok()["total_sat"]
        .as_u64()
        .unwrap()
}

async fn mempool(world: &World) -> usize {
    world.sandbox.chain.mempool().await.unwrap().len()
}

/// Asserts that the daemon has not panicked.
fn assert_no_panic(daemon: &Daemon) {
    let log = daemon.log();
    assert!(!log.contains("panicked"), "{log}");
}
