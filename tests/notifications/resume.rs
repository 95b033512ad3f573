//! A consumer that is killed at random, of a daemon that is killed at random, sees each event exactly once over every channel.

use std::collections::HashSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::sync::watch;

use super::clients::Access;
use super::{id_of, note, note_of, scene};

/// The note of the last event.
const END: &str = "end";
/// Notes that are written side by side.
const SIDE_BY_SIDE: u64 = 25;

#[derive(Clone, Copy, Debug)]
enum Channel {
    Wait,
    WebSocket,
    Stream,
}

/// What a consumer has made durable: its cursor, and what it has done about the events up to there.
#[derive(Default)]
struct Consumer {
    cursor: u64,
    seen: Vec<Value>,
}

impl Consumer {
    fn process(&mut self, event: Value) {
        self.cursor = id_of(&event);
        self.seen.push(event);
    }

    fn is_done(&self) -> bool {
        self.seen.last().is_some_and(|last| note_of(last) == END)
    }

    /// Connects, and processes up to `most` events until the connection breaks. What was sent beyond is lost with the connection.
    async fn run(&mut self, access: &Access, channel: Channel, most: usize) {
        let after = self.cursor;
        match channel {
            Channel::Wait => {
                let query = format!("after={after}&types=all&timeout=5");
                let path = format!("/notifications/wait?{query}");
                let Ok((200, answer)) = access.get(&path).await else {
                    return;
                };
                let events = answer["notifications"].as_array().unwrap();
                for event in events.iter().take(most) {
                    self.process(event.clone());
                }
            }
            Channel::WebSocket => {
                let Ok(mut socket) = access.ws(&format!("&after={after}&types=all")).await else {
                    return;
                };
                for _ in 0..most {
                    match socket.next().await {
                        Some(event) => self.process(event),
                        None => return,
                    }
                    if self.is_done() {
                        return;
                    }
                }
            }
            Channel::Stream => {
                let resumed = access.sse("after=0&types=all", Some(after)).await;
                let Ok(mut stream) = resumed else { return };
                for _ in 0..most {
                    match stream.next_event().await {
                        Some(event) => self.process(event.data.unwrap()),
                        None => return,
                    }
                    if self.is_done() {
                        return;
                    }
                }
            }
        }
    }
}

/// Reads until the last event, with random breaks.
async fn consume(channel: Channel, mut daemon: watch::Receiver<Access>, most: usize) -> Vec<Value> {
    let mut random = StdRng::seed_from_u64(channel as u64);
    let mut consumer = Consumer::default();
    while !consumer.is_done() {
        let access = daemon.borrow_and_update().clone();
        let before = consumer.cursor;
        consumer
            .run(&access, channel, random.random_range(1..=most))
            .await;
        if consumer.cursor == before {
            // The daemon is down, or nothing has happened.
            let _ = tokio::time::timeout(Duration::from_millis(200), daemon.changed()).await;
        }
    }
    consumer.seen
}

async fn each_event_is_seen_once(notes: u64, kills: u64) {
    let (_world, mut daemon) = scene().await;
    let access = watch::Sender::new(Access::to(&daemon));
    let most = usize::try_from(notes / 10).unwrap();
    let channels = [Channel::Wait, Channel::WebSocket, Channel::Stream];
    let consumers =
        channels.map(|channel| tokio::spawn(consume(channel, access.subscribe(), most)));

    let mut lost = 0;
    let mut open: Vec<u64> = (0..notes).collect();
    let mut kills_at: Vec<usize> = (1..=kills)
        .map(|kill| usize::try_from(notes * kill / (kills + 1)).unwrap())
        .collect();
    while !open.is_empty() {
        let side_by_side = open.len().min(usize::try_from(SIDE_BY_SIDE).unwrap());
        let batch = open.split_off(open.len() - side_by_side);
        let current = access.borrow().clone();
        let writes = batch.into_iter().map(|number| {
            let current = current.clone();
            async move {
                let body = serde_json::json!({"note": number});
                let written = current.patch(1, &body).await;
                (!matches!(written, Ok(200))).then_some(number)
            }
        });
        let writes = futures::future::join_all(writes);
        let is_killed = kills_at.last().is_some_and(|at| open.len() <= *at);
        let failed = if is_killed {
            kills_at.pop();
            let kill = async {
                tokio::time::sleep(Duration::from_millis(3)).await;
                daemon.kill_now();
            };
            let (failed, ()) = tokio::join!(writes, kill);
            daemon.kill().await;
            daemon.restart(None).await;
            access.send_replace(Access::to(&daemon));
            failed
        } else {
            writes.await
        };
        let again: Vec<u64> = failed.into_iter().flatten().collect();
        assert!(is_killed || again.is_empty(), "{again:?} failed");
        lost += again.len();
        open.extend(again);
    }
    note(&access.borrow().clone(), END).await;

    let mut all = Vec::new();
    for (channel, consumer) in channels.into_iter().zip(consumers) {
        let seen = consumer.await.unwrap();
        let numbers: Vec<u64> = seen.iter().map(id_of).collect();
        let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert_eq!(numbers, expected, "{channel:?}");
        let noted: HashSet<u64> = seen.iter().filter_map(|it| note_of(it).as_u64()).collect();
        assert_eq!(
            noted.len() as u64,
            notes,
            "{channel:?}: each write that was answered is seen"
        );
        all.push(seen);
    }
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);
    println!(
        "{} events, {kills} kills of the daemon, {lost} writes repeated",
        all[0].len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_resumes_sees_each_event_once() {
    each_event_is_seen_once(300, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute; tests/run --full runs it"]
async fn a_consumer_that_resumes_sees_each_of_10_000_events_once_at_length() {
    each_event_is_seen_once(10_000, 12).await;
}
