//! The listener: it accepts connections, serves the router on them, and closes those that keep it waiting.
//!
//! A client that sends a request byte by byte, or never reads an answer, holds a connection and thus a descriptor. Three rules bound
//! that. A connection that waits for its client is closed after a time ([`Limits`]). At the maximum number of connections, the one that
//! has waited longest is closed for the next client. A connection on which the daemon itself is at work (a request whose body has
//! arrived, an event stream, a websocket) is closed by neither, unless its client stops reading.

mod activity;
mod body;
mod limits;
mod open;
mod service;
mod stream;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use self::limits::Limits;

pub(super) use self::body::is_timeout;
pub(super) use self::service::Stopping;

use self::open::{Connections, Slot};
use self::service::Service;
use self::stream::Stream;

/// The maximum size of a request's line and headers, in bytes; a larger one is answered with 431, and so is one of more than 100 headers,
/// which is the library's own maximum.
const MAX_HEAD: u32 = 64 * 1024;
/// The maximum number of requests that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 100;
/// How often an HTTP/2 client is asked whether it is alive, and how long its answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);
/// How long the listener pauses after the system has refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How often such a refusal is logged at most.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);
/// How long a stopping listener gives idle connections to end by themselves.
const GOODBYE: Duration = Duration::from_millis(100);

/// Serves `router` until `stopping` is cancelled. Then it accepts nothing more, and returns when the requests in progress are answered and
/// the websockets have ended. Dropping the future closes every connection but those of websockets.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stopping: CancellationToken,
) {
    let connections = Connections::new(limits);
    let mut tasks = JoinSet::new();
    tokio::select! {
        () = accept_all(&listener, &router, &connections, &stopping, &mut tasks) => {}
        () = close_overdue(&connections) => {}
        () = stopping.cancelled() => {}
    }
    drop(listener);
    loop {
        tokio::select! {
            () = connections.all_ended() => break,
            () = tokio::time::sleep(GOODBYE) => connections.close_without_request(),
        }
    }
}

async fn accept_all(
    listener: &TcpListener,
    router: &Router,
    connections: &Connections,
    stopping: &CancellationToken,
    tasks: &mut JoinSet<()>,
) {
    let mut complaint = None;
    loop {
        let socket = accept(listener, connections, &mut complaint).await;
        let slot = connections.slot().await;
        // Without this, a small answer waits for the acknowledgement of the previous one (Nagle's algorithm).
        let _ = socket.set_nodelay(true);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(serve_connection(
            socket,
            slot,
            router.clone(),
            connections.limits(),
            stopping.clone(),
        ));
    }
}

/// The next connection. A refusal of the system, most likely for want of descriptors, is logged and tried again.
async fn accept(
    listener: &TcpListener,
    connections: &Connections,
    complaint: &mut Option<Instant>,
) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return socket,
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if complaint.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
                    tracing::error!(%error, "cannot accept connections; trying again");
                    *complaint = Some(Instant::now());
                }
                connections.close_longest_waiting();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

async fn close_overdue(connections: &Connections) {
    let mut check = tokio::time::interval(connections.limits().check_interval());
    loop {
        check.tick().await;
        connections.close_overdue();
    }
}

/// Serves the requests of one connection, over HTTP/1 or HTTP/2, until it ends. A websocket that began on it outlives this.
async fn serve_connection(
    socket: TcpStream,
    slot: Slot,
    router: Router,
    limits: Limits,
    stopping: CancellationToken,
) {
    let activity = slot.activity();
    let service = Service::new(
        router,
        Arc::clone(&activity),
        limits.client,
        stopping.clone(),
    );
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(MAX_HEAD as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_PATIENCE);
    let connection = builder.serve_connection_with_upgrades(
        TokioIo::new(Stream::new(socket, slot)),
        TowerToHyperService::new(service),
    );
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = activity.closed() => return,
        () = stopping.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    // How it ends does not matter: nobody is left who could be told.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = activity.closed() => {}
    }
}
