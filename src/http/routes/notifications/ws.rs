//! `GET /notifications/ws`: the events as they happen, one text frame each.
//!
//! Nothing is buffered for a client that reads slowly: it gets the events from the outbox as it reads them. One that does not read at all,
//! or does not answer pings, is disconnected.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use futures::SinkExt;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::subscription::{Kinds, SEND_PATIENCE, STREAM_PAGE, start_of_stream};
use crate::http::App;
use crate::http::error::ApiError;
use crate::http::extract::Query;
use crate::http::schema::notification;
use crate::wallet::{EventPage, EventReader};

/// How often the daemon sends a ping.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long a client may be silent, pongs included.
const MAX_SILENCE: Duration = Duration::from_secs(90);
/// How long the last frame may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// Bytes of the buffers of a connection.
const BUFFER: usize = 4096;

#[derive(Deserialize)]
pub(super) struct Question {
    /// From `GET /notifications/ws/ticket`.
    ticket: String,
    /// Also what followed the event with this id; without it, only what happens from now on.
    after: Option<u64>,
    /// As for `GET /notifications/wait`.
    types: Option<String>,
}

/// Opens a web socket for the events. Without a wallet it is closed at once.
pub(super) async fn connect(
    State(app): State<App>,
    Query(question): Query<Question>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let kinds = Kinds::parse(question.types.as_deref())?;
    let upgrade = upgrade.map_err(|rejection| not_a_web_socket(&rejection))?;
    if !app.tickets.redeem(&question.ticket, Instant::now()) {
        return Err(ApiError::unauthorized(
            "invalid_ticket",
            "the ticket is unknown, used or expired; get one from GET /api/v1/notifications/ws/ticket for each connection",
        ));
    }
    let session = match app.wallets.loaded() {
        None => None,
        Some(wallet) => Some(Session {
            closing: wallet.closing(),
            reader: wallet.read_events(start_of_stream(question.after)).await?,
            kinds,
        }),
    };
    let upgrade = upgrade
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(BUFFER)
        .max_frame_size(BUFFER);
    Ok(upgrade.on_upgrade(move |socket| serve(socket, session, app.stopping)))
}

fn not_a_web_socket(rejection: &WebSocketUpgradeRejection) -> ApiError {
    ApiError::new(
        rejection.status(),
        "not_a_web_socket",
        rejection.body_text(),
    )
}

struct Session {
    reader: EventReader,
    kinds: Kinds,
    closing: CancellationToken,
}

async fn serve(mut socket: WebSocket, session: Option<Session>, stopping: CancellationToken) {
    let reason = match session {
        None => "no wallet is loaded",
        Some(mut session) => {
            let closing = session.closing.clone();
            tokio::select! {
                // A daemon that stops closes its wallet, too.
                biased;
                () = stopping.cancelled() => "the daemon stops",
                () = closing.cancelled() => "the wallet is closed",
                reason = session.run(&mut socket) => reason,
            }
        }
    };
    let frame = CloseFrame {
        code: close_code::AWAY,
        reason: reason.into(),
    };
    // The client may be gone, or have closed the connection itself.
    let _ = timeout(FAREWELL, async {
        let _ = socket.send(Message::Close(Some(frame))).await;
        let _ = socket.flush().await;
    })
    .await;
}

impl Session {
    /// Sends events until the connection ends. Returns why it ends.
    async fn run(&mut self, socket: &mut WebSocket) -> &'static str {
        let mut pings = interval_at(tokio::time::Instant::now() + PING_INTERVAL, PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let messages = tokio::select! {
                page = self.reader.next(STREAM_PAGE) => match page {
                    Ok(Some(page)) => self.messages(&page),
                    Ok(None) => return "the wallet is closed",
                    Err(error) => {
                        tracing::warn!(%error, "cannot read the events of a web socket; closing it");
                        return "the events cannot be read";
                    }
                },
                message = socket.recv() => match message {
                    None | Some(Err(_) | Ok(Message::Close(_))) => return "the client has closed the connection",
                    Some(Ok(_)) => {
                        heard = Instant::now();
                        continue;
                    }
                },
                _ = pings.tick() => {
                    if heard.elapsed() > MAX_SILENCE {
                        return "the client does not answer pings";
                    }
                    vec![Message::Ping(Vec::new().into())]
                }
            };
            match timeout(SEND_PATIENCE, send(socket, messages)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return "the connection is broken",
                Err(_) => return "the client reads too slowly; go on with after=<last id>",
            }
        }
    }

    fn messages(&self, page: &EventPage) -> Vec<Message> {
        match page {
            EventPage::Pruned(last) => vec![Message::Text(notification::lagging(*last).into())],
            EventPage::Events(events) => {
                let wanted = events.iter().filter(|event| self.kinds.contain(event.kind));
                wanted
                    .map(|event| Message::Text(notification::json(event).into()))
                    .collect()
            }
        }
    }
}

/// Sends messages; at most a buffer of them is in memory for the connection.
async fn send(socket: &mut WebSocket, messages: Vec<Message>) -> Result<(), axum::Error> {
    for message in messages {
        socket.feed(message).await?;
    }
    socket.flush().await
}
