//! What a thousand web sockets that all want each event cost, and how long an event takes to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::process::{Daemon, Product};
use crate::times::Times;
use crate::world::World;

/// Web sockets that are open at the same time.
const CLIENTS: usize = 1000;
/// Events that are made one at a time: the next one when all clients have the one before.
const SINGLE: usize = 100;
/// Events that are made as fast as the daemon takes them.
const BURST: usize = 500;
/// After this time without any event, those that are missing are lost.
const LOST: Duration = Duration::from_secs(5);
/// Requests of the burst that are under way at the same time.
const SIDE_BY_SIDE: usize = 16;

/// The figures under their names.
pub async fn measure(product: Product) -> Vec<(String, f64)> {
    allow_many_files();
    let world = World::new().await;
    let boards = (1, crate::BOARD);
    let mut daemon = crate::wallet(&world, &world.sandbox.ark_url, product, boards).await;
    daemon.start(crate::READY, &[]);
    let before = daemon.resident();
    let delivered = Arc::new(AtomicUsize::new(0));
    let end = CancellationToken::new();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(client(&daemon, &delivered, &end).await);
    }
    let memory = (daemon.resident() - before) / f64::from(u32::try_from(CLIENTS).unwrap_or(1));

    let mut begun = Vec::new();
    for event in 1..=SINGLE {
        begun.push(Instant::now());
        note(&daemon, event).await;
        reached(&delivered, event * CLIENTS).await;
    }
    let burst = Instant::now();
    let notes = futures::stream::iter(0..BURST).map(|event| note(&daemon, event));
    notes
        .buffer_unordered(SIDE_BY_SIDE)
        .collect::<Vec<()>>()
        .await;
    let written = burst.elapsed();
    let lost = reached(&delivered, (SINGLE + BURST) * CLIENTS).await;
    let read = burst.elapsed();
    end.cancel();

    let mut latencies = Vec::new();
    for client in clients {
        let arrivals = client.await.expect("no panic");
        let singles = arrivals.into_iter().zip(&begun);
        latencies.extend(singles.map(|(arrival, begun)| arrival - *begun));
    }
    daemon.stop();
    let latency = Times::of(latencies);
    let per_second = |count: usize, time: Duration| {
        f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / time.as_secs_f64()
    };
    let rows = [
        ("request to event, ms, median", latency.p50),
        ("request to event, ms, p99", latency.p99),
        ("events written per second", per_second(BURST, written)),
        (
            "events delivered per second",
            per_second(BURST * CLIENTS - lost, read),
        ),
        ("events lost", per_second(lost, Duration::from_secs(1))),
        ("memory of each, KiB", memory),
    ];
    let named = rows.map(|(name, figure)| (format!("{CLIENTS} web sockets: {name}"), figure));
    named.to_vec()
}

/// Opens a web socket; the task answers when each event has arrived.
async fn client(
    daemon: &Daemon,
    delivered: &Arc<AtomicUsize>,
    end: &CancellationToken,
) -> JoinHandle<Vec<Instant>> {
    let ticket = daemon.get("/notifications/ws/ticket").await;
    let ticket = ticket.as_str().expect("a ticket");
    let address = ("127.0.0.1", daemon.port());
    let stream = TcpStream::connect(address).await.expect("it listens");
    let url = format!(
        "ws://127.0.0.1:{}/api/v1/notifications/ws?ticket={ticket}",
        daemon.port()
    );
    let opened = tokio_tungstenite::client_async(url, stream).await;
    let (mut socket, _) = opened.expect("a web socket");
    let (delivered, end) = (Arc::clone(delivered), end.clone());
    tokio::spawn(async move {
        let mut arrivals = Vec::new();
        while let Some(message) = end.run_until_cancelled(socket.next()).await {
            let message = message.expect("the connection stays open");
            if let Message::Text(text) = message.expect("the connection stays open")
                && !text.contains("channel-lagging")
            {
                arrivals.push(Instant::now());
                delivered.fetch_add(1, Ordering::Relaxed);
            }
        }
        arrivals
    })
}

/// Makes an event.
async fn note(daemon: &Daemon, event: usize) {
    let path = "/history/1/metadata";
    daemon.post(path, Some(json!({"note": event}))).await;
}

/// Waits until so many events have arrived, or none does any more. Returns how many are missing.
async fn reached(delivered: &AtomicUsize, wanted: usize) -> usize {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let count = delivered.load(Ordering::Relaxed);
        if count > last {
            (last, since) = (count, Instant::now());
        }
        if count >= wanted || since.elapsed() > LOST {
            return wanted.saturating_sub(count);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Raises the limit of open files, which the daemon inherits.
fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, limit).expect("the limit can be raised to its maximum");
}
