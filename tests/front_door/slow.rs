//! Many clients that idle or are slow, and one that pays.

use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::support::{Daemon, RawConnection, World, assert_conserved, eventually};

/// How long a payment may take at most while they are there: much less than the 75 seconds for which an idle client keeps its place, and
/// enough for a machine that is busy with the crowd itself.
const PATIENCE: Duration = Duration::from_secs(25);

struct Crowd {
    /// Connections that send nothing after their first request.
    idle: usize,
    /// Connections that send a third each of heads, of bodies, and of requests whose answers they do not read.
    slow: usize,
    /// The maximum number of connections.
    maximum: usize,
}

#[tokio::test]
async fn slow_clients_are_cut_and_a_paying_client_does_not_wait() {
    let crowd = Crowd {
        idle: 500,
        slow: 99,
        maximum: 700,
    };
    pay_in(&crowd).await;
}

#[tokio::test]
async fn a_paying_client_gets_in_when_the_crowd_exceeds_the_maximum() {
    let crowd = Crowd {
        idle: 300,
        slow: 99,
        maximum: 128,
    };
    pay_in(&crowd).await;
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn five_thousand_idle_and_five_hundred_slow_clients_do_not_delay_a_payment_at_length() {
    for maximum in [6_000, 1_000] {
        let crowd = Crowd {
            idle: 5_000,
            slow: 501,
            maximum,
        };
        pay_in(&crowd).await;
    }
}

/// Lets a client pay several times while the crowd is there. Then the slow clients have been cut, and the idle ones are there, as far
/// as the maximum allows.
async fn pay_in(crowd: &Crowd) {
    raise_own_limit();
    let world = World::new().await;
    let maximum = crowd.maximum.to_string();
    let flags = ["--max-connections", &maximum, "--client-timeout-secs", "5"];
    let payer = Daemon::start_with(&flags, &[]).await;
    payer.create_wallet(&world).await;
    let payee = Daemon::with_wallet(&world).await;
    payer.fund_and_board(&world, 50_000).await;
    let to = payee.address().await;

    let mut idle = Vec::new();
    for _ in 0..crowd.idle.div_ceil(100) {
        let part = (0..100).map(|_| idle_client(&payer));
        idle.extend(join_all(part).await);
    }
    if crowd.idle + crowd.slow < crowd.maximum {
        eventually(
            "all idle clients are connected, and nobody else",
            async || (payer.connections() == crowd.idle).then_some(()),
        )
        .await;
    }
    let slow = (0..crowd.slow).map(|number| slow_client(&payer, number));
    let slow: Vec<RawConnection> = join_all(slow).await;

    let mut longest = Duration::ZERO;
    for _ in 0..10 {
        let begun = Instant::now();
        payer.send(&to, 1_000).await.ok();
        longest = longest.max(begun.elapsed());
    }
    assert!(longest < PATIENCE, "{longest:?}");

    // One connection more is accepted before another one makes room.
    let most = crowd.idle.min(crowd.maximum + 1);
    eventually("the slow clients are cut", async || {
        (payer.connections() <= most).then_some(())
    })
    .await;
    for (number, mut client) in slow.into_iter().enumerate() {
        // One that begins to read is not slow any more.
        match number % 3 {
            0 | 1 => drop(client.read_to_end().await),
            _ => {
                eventually("a client that does not read is cut", async || {
                    (!client.send("G").await).then_some(())
                })
                .await;
            }
        }
    }
    if crowd.idle + crowd.slow < crowd.maximum {
        eventually("the idle clients are left", async || {
            (payer.connections() == crowd.idle).then_some(())
        })
        .await;
    }
    drop(idle);
    payee.wait_for_spendable(10_000).await;
    payer.settled().await;
    assert_conserved(&world, &[&payer, &payee]).await;
}

/// A client that keeps its connection after a request. At the maximum it may have been cut before the answer.
async fn idle_client(daemon: &Daemon) -> RawConnection {
    let mut client = RawConnection::open(daemon).await;
    client.send("GET /ping HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client
}

async fn slow_client(daemon: &Daemon, number: usize) -> RawConnection {
    let token = daemon.token();
    let body = format!(
        "POST /api/v1/wallet/send HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"desti"
    );
    let document = "GET /api-docs/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(20);
    let mut client = RawConnection::open(daemon).await;
    client
        .send(match number % 3 {
            0 => "GET /ping HTTP/1.1\r\nx: ",
            1 => &body,
            _ => &document,
        })
        .await;
    client
}

/// The clients are in this process.
fn raise_own_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("a process may raise its limit up to the hard one");
}
