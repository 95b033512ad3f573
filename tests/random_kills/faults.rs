//! Random faults of the Ark server and of the chain.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::Shared;

/// Hooks inside the server's handlers at which it crashes. `lnsend.attempt` is not among them: of a payment to another client, nothing but the
/// attempt is left then, and the payer waits until the HTLCs expire (docs/protocol.md §40.4), which is longer than a run.
const HOOKS: [&str; 23] = [
    "board.register",
    "register",
    "arkoor.persisted",
    "mailbox.post",
    "round.commit",
    "round.forfeit.persisted",
    "offboard.prepared",
    "offboard.persisted",
    "lnsend.htlc.persisted",
    "lnsend.initiated",
    "lnsend.intra.accepted",
    "lnsend.intra.cancel",
    "lnsend.outcome",
    "lnsend.preimage",
    "lnsend.finished",
    "lnsend.check",
    "lnsend.revoke.persisted",
    "lnrecv.injected",
    "lnrecv.accepted",
    "lnrecv.granted",
    "lnrecv.preimage_seen",
    "lnrecv.claim.persisted",
    "lnrecv.settle",
];

/// Requests to the chain that change something, or that every sync makes.
const CHAIN_TARGETS: [&str; 5] = [
    "*",
    "/tx",
    "/tx/*/status",
    "/tx/*/outspend/*",
    "/blocks/tip/hash",
];

/// Adds a fault of the server at a time, and removes it after a while.
pub async fn of_the_server(shared: &Shared, mut random: StdRng) {
    while !shared.is_over() {
        rest(&mut random, 50..500).await;
        if random.random_ratio(1, 60) {
            shared.world.sandbox.ark.restart().await;
            shared.count("server fault: restart");
            continue;
        }
        let (name, rule) = server_rule(shared, &mut random);
        let id = shared.world.optional_fault(rule);
        rest(&mut random, 200..3_000).await;
        let fired = shared.world.fired(id);
        shared.count_times(format!("server fault: {name}"), fired.into());
        shared.world.end_fault(id);
    }
}

/// A random fault of the server, and its name in the report.
fn server_rule(shared: &Shared, random: &mut StdRng) -> (&'static str, Value) {
    let times = random.random_range(1..4);
    if random.random_ratio(1, 8) {
        let hook = HOOKS[random.random_range(0..HOOKS.len())];
        let crash = json!({"type": "crash"});
        return (
            "crash",
            json!({"target": hook, "times": 1, "action": crash}),
        );
    }
    if random.random_ratio(1, 60) {
        let down = json!({"type": "drop_before"});
        return ("outage", json!({"target": "*", "action": down}));
    }
    let called = shared.world.sandbox.ark.faults().calls();
    let called: Vec<&str> = called.into_keys().collect();
    let rpc = called[random.random_range(0..called.len())];
    if rpc.starts_with("Subscribe") {
        let cut = json!({"type": "cut_stream_after", "messages": random.random_range(0..3)});
        return (
            "cut stream",
            json!({"target": rpc, "times": times, "action": cut}),
        );
    }
    let (name, action) = match random.random_range(0..10) {
        0..3 => ("dropped request", json!({"type": "drop_before"})),
        3..7 => ("lost answer", json!({"type": "drop_after"})),
        7 => (
            "delay",
            json!({"type": "delay", "ms": random.random_range(50..1_500)}),
        ),
        8 => ("refusal", status(3)),
        _ => ("error", status(13)),
    };
    (
        name,
        json!({"target": rpc, "times": times, "action": action}),
    )
}

fn status(code: i32) -> Value {
    json!({"type": "status", "code": code, "message": "a random fault"})
}

/// Adds a fault of the chain at a time, and removes it after a while.
pub async fn of_the_chain(shared: &Shared, mut random: StdRng) {
    let proxy = &shared.world.sandbox.chain_proxy;
    while !shared.is_over() {
        rest(&mut random, 300..1_500).await;
        let (name, rule) = chain_rule(shared, &mut random);
        let id = shared.world.optional_chain_fault(rule);
        rest(&mut random, 200..1_500).await;
        let active = proxy.active().into_iter().find(|active| active.id == id);
        let fired = active.map_or(0, |active| active.fired);
        shared.count_times(format!("chain fault: {name}"), fired.into());
        shared.world.end_chain_fault(id);
    }
}

/// A random fault of the chain, and its name in the report. On a real node, every request is a target.
fn chain_rule(shared: &Shared, random: &mut StdRng) -> (&'static str, Value) {
    let target = if shared.world.is_simulated() {
        CHAIN_TARGETS[random.random_range(0..CHAIN_TARGETS.len())]
    } else {
        "*"
    };
    let (name, action) = match random.random_range(0..6) {
        0 => ("dropped request", json!({"type": "drop_before"})),
        1..3 => ("lost answer", json!({"type": "drop_after"})),
        3 => ("cut answer", json!({"type": "cut"})),
        4 => (
            "delay",
            json!({"type": "delay", "ms": random.random_range(50..800)}),
        ),
        _ => (
            "error",
            json!({"type": "answer", "code": 503, "body": "busy"}),
        ),
    };
    let times = random.random_range(1..6);
    (
        name,
        json!({"target": target, "times": times, "action": action}),
    )
}

async fn rest(random: &mut StdRng, millis: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.random_range(millis))).await;
}
