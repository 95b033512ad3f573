//! Clients of the three channels, which read events as a program of an operator would.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::{Daemon, PATIENCE};

/// What a client needs to know of a daemon. It stays valid when the daemon is killed, and is made anew when it runs again.
#[derive(Clone)]
pub struct Access {
    http: reqwest::Client,
    port: u16,
    token: String,
}

impl Access {
    pub fn to(daemon: &Daemon) -> Access {
        Access {
            http: reqwest::Client::new(),
            port: daemon.port(),
            token: daemon.token().to_owned(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/api/v1{path}", self.port)
    }

    /// GET, with no check against the published documents, which do not know all types.
    pub async fn get(&self, path: &str) -> reqwest::Result<(u16, Value)> {
        let request = self.http.get(self.url(path)).bearer_auth(&self.token);
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    pub async fn patch(&self, movement: u32, metadata: &Value) -> reqwest::Result<u16> {
        let url = self.url(&format!("/history/{movement}/metadata"));
        let request = self.http.post(url).bearer_auth(&self.token).json(metadata);
        Ok(request.send().await?.status().as_u16())
    }

    /// The events after `cursor`, as a long poll returns them.
    pub async fn wait(&self, query: &str) -> Vec<Value> {
        let (status, answer) = self
            .get(&format!("/notifications/wait?{query}"))
            .await
            .unwrap();
        assert_eq!(status, 200, "{answer}");
        answer["notifications"].as_array().unwrap().clone()
    }

    pub async fn ticket(&self) -> reqwest::Result<String> {
        let (status, ticket) = self.get("/notifications/ws/ticket").await?;
        assert_eq!(status, 200, "{ticket}");
        Ok(ticket.as_str().unwrap().to_owned())
    }

    /// Opens a web socket with a new ticket; `query` begins with `&` unless it is empty.
    pub async fn ws(&self, query: &str) -> Result<Ws, Error> {
        let ticket = self.ticket().await.map_err(|_| Error::ConnectionClosed)?;
        self.ws_with(&format!("ticket={ticket}{query}"), None).await
    }

    /// Opens a web socket; `buffer` is the size of the buffer for what the client has not read yet.
    pub async fn ws_with(&self, query: &str, buffer: Option<u32>) -> Result<Ws, Error> {
        let socket = TcpSocket::new_v4()?;
        if let Some(buffer) = buffer {
            socket.set_recv_buffer_size(buffer)?;
        }
        let stream = socket.connect(([127, 0, 0, 1], self.port).into()).await?;
        let url = format!(
            "ws://127.0.0.1:{}/api/v1/notifications/ws?{query}",
            self.port
        );
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await?;
        Ok(Ws(socket))
    }

    pub async fn sse(&self, query: &str, last_event_id: Option<u64>) -> reqwest::Result<Sse> {
        let url = self.url(&format!("/notifications/sse?{query}"));
        let mut request = self.http.get(url).bearer_auth(&self.token);
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id.to_string());
        }
        let response = request.send().await?.error_for_status()?;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Ok(Sse {
            response,
            text: String::new(),
        })
    }
}

/// An open web socket.
pub struct Ws(WebSocketStream<TcpStream>);

impl Ws {
    /// The next event; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            match soon(self.0.next()).await {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Why the daemon has closed the connection, once that has happened.
    pub async fn farewell(&mut self) -> String {
        loop {
            match soon(self.0.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.reason.to_string(),
                Some(Ok(Message::Close(None)) | Err(_)) | None => return String::new(),
                Some(Ok(_)) => {}
            }
        }
    }

    /// Whether nothing arrives before a pong that is asked for now.
    pub async fn is_quiet(&mut self) -> bool {
        self.0.send(Message::Ping(Vec::new().into())).await.unwrap();
        let next = soon(self.0.next()).await;
        matches!(next, Some(Ok(Message::Pong(_))))
    }
}

/// An open stream of server-sent events.
pub struct Sse {
    response: reqwest::Response,
    text: String,
}

/// A server-sent event.
#[derive(Debug, Default)]
pub struct Sent {
    pub id: Option<u64>,
    pub name: String,
    pub data: Option<Value>,
}

impl Sse {
    /// The next event, or the next bare id; `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let mut sent = Sent::default();
                for line in block.lines() {
                    match line.split_once(':').unwrap() {
                        ("id", id) => sent.id = Some(id.trim().parse().unwrap()),
                        ("event", name) => sent.name = name.trim().to_owned(),
                        ("data", data) => sent.data = Some(serde_json::from_str(data).unwrap()),
                        (field, _) => assert_eq!(field, "", "a comment"),
                    }
                }
                self.text = rest.to_owned();
                if sent.id.is_some() {
                    return Some(sent);
                }
                continue;
            }
            let chunk = soon(self.response.chunk()).await.ok()??;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event, without bare ids.
    pub async fn next_event(&mut self) -> Option<Sent> {
        loop {
            let sent = self.next().await?;
            if sent.data.is_some() {
                return Some(sent);
            }
        }
    }
}

async fn soon<T>(answer: impl Future<Output = T>) -> T {
    let limit: Duration = PATIENCE;
    let answer = tokio::time::timeout(limit, answer).await;
    answer.expect("the daemon sends something in time")
}
