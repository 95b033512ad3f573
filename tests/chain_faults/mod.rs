//! The chain source fails: it loses answers, refuses, answers wrongly, lags, hangs (docs/protocol.md §35.2, row "chain"). The daemons of these
//! tests reach their chain, Esplora API or node, through the sandbox's proxy.

mod away;
mod broadcast;
mod server;
mod wrong_answers;

use serde_json::{Value, json};

use crate::support::{Daemon, World};

/// What a daemon asks its chain source for.
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
    /// The paths, or the methods, that it is asked by.
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

/// Makes a question fail, so many times or without end.
fn fail(world: &World, question: Question, times: Option<u32>, action: &Value) {
    for target in question.targets(world) {
        world.chain_fault(json!({"target": target, "times": times, "action": action}));
    }
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

/// A payment out of the on-chain wallet, in each of the ways that there are.
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

/// "There is no such transaction".
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

/// Nothing that a chain source says may end in a panic.
fn assert_calm(daemon: &Daemon) {
    let log = daemon.log();
    assert!(!log.contains("panicked"), "{log}");
}
