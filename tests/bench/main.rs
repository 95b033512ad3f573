//! The figures of the running program beside those of barkd 0.8.0: one command, one table (see `REPORT.md`).
//!
//! Everything is on loopback. The chain and the Ark server run in this process, the daemons are children, one at a time.

mod events;
#[path = "../support/fan_out.rs"]
mod fan_out;
#[path = "../support/faults.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod faults;
mod fill;
mod large;
mod lightning;
mod process;
mod proxy;
mod rate;
mod recovery;
mod sends;
mod table;
mod times;
#[path = "../support/world.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod world;

use std::time::Duration;

use serde_json::{Value, json};

use process::{Daemon, Product};
use proxy::Proxy;
use sends::Cost;
use table::Table;
use world::World;

/// VTXOs that each wallet has at first, each from a board of its own.
const BOARDS: u32 = 10;
/// The amount of each, in sat.
const BOARD: u64 = 100_000;
/// Sizes of wallets that are filled with VTXOs the server does not know.
const LARGE: [u32; 2] = [1_000, 10_000];
/// Starts whose median is reported.
const STARTS: usize = 5;
/// Over which the CPU time of an idle daemon is taken.
const IDLE: Duration = Duration::from_secs(10);
/// The requests whose rate is measured.
const READS: [&str; 6] = [
    "/ping",
    "/api/v1/wallet/balance",
    "/api/v1/wallet/vtxos",
    "/api/v1/history",
    "/api/v1/wallet/vtxos?limit=100",
    "/api/v1/history?limit=100",
];
/// What a daemon with a wallet answers when it is ready.
const READY: &str = "/api/v1/wallet/balance";

/// What a wallet of one size shows.
struct Figures {
    /// Milliseconds from the start of the process to the first balance.
    start: f64,
    /// MiB in RAM.
    resident: f64,
    /// Share of one core.
    cpu: f64,
    /// Requests per second, in the order of [`READS`].
    rates: [f64; READS.len()],
}

impl Figures {
    fn rows(&self) -> Vec<(String, f64)> {
        let rates = READS.iter().zip(self.rates);
        let rates = rates.map(|(path, rate)| (format!("GET {path}, requests/s"), rate));
        let rest = [
            ("start to first balance, ms", self.start),
            ("idle memory, MiB", self.resident),
            ("idle CPU, ‰ of one core", 1_000.0 * self.cpu),
        ];
        rates
            .chain(rest.map(|(name, figure)| (name.to_owned(), figure)))
            .collect()
    }
}

#[tokio::main]
async fn main() {
    if std::env::args().any(|argument| argument == "lightning") {
        let mut table = Table::new();
        lightning_rows(&mut table).await;
        println!("{table}");
        return;
    }
    if std::env::args().any(|argument| argument == "recovery") {
        let mut table = Table::new();
        recovery_rows(&mut table).await;
        println!("{table}");
        return;
    }
    if std::env::args().any(|argument| argument == "events") {
        let mut table = Table::new();
        event_rows(&mut table).await;
        println!("{table}");
        return;
    }
    let world = World::new().await;
    let proxy = Proxy::open(&world.sandbox.ark_url);
    let to = payee(&world).await;

    let boards = (BOARDS, BOARD);
    let mut ours = wallet(&world, &proxy.url, Product::Ours, boards).await;
    let mut barkd = wallet(&world, &proxy.url, Product::Barkd, boards).await;
    let mut sizes = vec![(BOARDS, figures(&mut ours), Some(figures(&mut barkd)))];
    let costs = (
        cost(&mut ours, &proxy, &to).await,
        cost(&mut barkd, &proxy, &to).await,
    );
    for size in LARGE {
        fill::fill(ours.folder(), size, &to);
        sizes.push((size, figures(&mut ours), None));
    }
    let large = large::measure(payee).await;
    let mut table = report(&sizes, &costs.0, &costs.1, &large);
    lightning_rows(&mut table).await;
    recovery_rows(&mut table).await;
    event_rows(&mut table).await;
    println!("{table}");
}

/// Adds the figures of web sockets, ours beside barkd's.
async fn event_rows(table: &mut Table) {
    let ours = events::measure(Product::Ours).await;
    let theirs = events::measure(Product::Barkd).await;
    for ((name, ours), (_, theirs)) in ours.into_iter().zip(theirs) {
        table.row(&name, ours, Some(theirs));
    }
}

/// Adds the figures of recoveries, ours beside barkd's.
async fn recovery_rows(table: &mut Table) {
    for (name, ours, theirs) in recovery::measure().await {
        table.row(&name, ours, Some(theirs));
    }
}

/// Adds the figures of Lightning, ours beside barkd's.
async fn lightning_rows(table: &mut Table) {
    let ours = lightning::measure(Product::Ours).await;
    eprintln!("arkwalletd, Lightning: {ours:#?}");
    let theirs = lightning::measure(Product::Barkd).await;
    for (name, figure) in ours {
        let beside = theirs.iter().find(|(other, _)| *other == name);
        table.row(&name, figure, beside.map(|(_, figure)| *figure));
    }
}

/// An address whose owner is away, so that nobody's receiving takes time from the payer.
async fn payee(world: &World) -> String {
    let mut daemon = Daemon::new(Product::Ours);
    daemon.start("/ping", &[]);
    let request = creation(world, &world.sandbox.ark_url);
    daemon.post("/wallet/create", Some(request)).await;
    let answer = daemon.post("/wallet/addresses/next", None).await;
    daemon.stop();
    answer["address"].as_str().expect("an address").to_owned()
}

/// A stopped daemon whose wallet has as many boards of one amount in sat. It reaches the Ark server at `url`.
async fn wallet(
    world: &World,
    url: &str,
    product: Product,
    (boards, amount): (u32, u64),
) -> Daemon {
    let mut daemon = Daemon::new(product);
    daemon.start("/ping", &[("BARK_DAEMON_SYNC_INTERVAL_SECS", "1")]);
    let request = creation(world, url);
    daemon.post("/wallet/create", Some(request)).await;
    for _ in 0..boards {
        let address = daemon.post("/onchain/addresses/next", None).await;
        let address = address["address"].as_str().expect("an address");
        world.pay(address, amount + 10_000).await;
    }
    world.mine(1).await;
    daemon.post("/onchain/sync", None).await;
    for _ in 0..boards {
        let request = json!({"amount_sat": amount});
        daemon.post("/boards/board-amount", Some(request)).await;
        world.mine(1).await;
        daemon.post("/onchain/sync", None).await;
    }
    let all = u64::from(boards) * amount;
    while daemon.get("/wallet/balance").await["spendable_sat"] != all {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    while daemon.get("/boards/pending").await != Value::Array(Vec::new()) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    daemon.stop();
    daemon
}

fn creation(world: &World, ark_server: &str) -> Value {
    json!({
        "network": "regtest",
        "ark_server": ark_server,
        "chain_source": {"esplora": {"url": world.sandbox.esplora_url}},
    })
}

/// Starts a stopped daemon a few times, leaves it alone, asks it a lot, and stops it.
fn figures(daemon: &mut Daemon) -> Figures {
    let mut starts: Vec<Duration> = (0..STARTS)
        .map(|_| {
            daemon.stop();
            daemon.start(READY, &[])
        })
        .collect();
    starts.sort();
    // What follows the start, such as the first look at the chain, is not idleness.
    std::thread::sleep(IDLE / 2);
    let before = daemon.cpu_times();
    std::thread::sleep(IDLE);
    let used = daemon
        .cpu_times()
        .into_iter()
        .map(|(thread, time)| time.saturating_sub(before.get(&thread).copied().unwrap_or(0)));
    let cpu = Duration::from_nanos(used.sum()).as_secs_f64() / IDLE.as_secs_f64();
    let resident = daemon.resident() / 1024.0;
    let rates = READS.map(|path| rate::per_second(daemon.port(), path));
    daemon.stop();
    Figures {
        start: starts[STARTS / 2].as_secs_f64() * 1_000.0,
        resident,
        cpu,
        rates,
    }
}

async fn cost(daemon: &mut Daemon, proxy: &Proxy, payee: &str) -> Cost {
    daemon.start(READY, &[]);
    while daemon.get("/wallet/connected").await["connected"] != true {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let cost = sends::measure(daemon, proxy, payee).await;
    daemon.stop();
    cost
}

fn report(
    sizes: &[(u32, Figures, Option<Figures>)],
    ours: &Cost,
    theirs: &Cost,
    large: &[(String, f64)],
) -> Table {
    let mut table = Table::new();
    for (size, here, there) in sizes {
        let theirs = there.as_ref().map(Figures::rows);
        for (number, (name, figure)) in here.rows().into_iter().enumerate() {
            let beside = theirs.as_ref().map(|rows| rows[number].1);
            table.row(&format!("{name}, {size} VTXOs"), figure, beside);
        }
    }
    for ((name, here), (_, there)) in ours.rows().into_iter().zip(theirs.rows()) {
        table.row(name, here, Some(there));
    }
    if let (Some(here), there) = (ours.flushes, theirs.flushes) {
        table.row("fsync and fdatasync per payment", here, there);
    }
    for (name, figure) in large {
        table.row(name, *figure, None);
    }
    table
}
