//! What a round tells its subscribers (spec §1.4).

use std::sync::{Arc, Mutex, PoisonError};

use ark_lib::rounds::RoundEvent;
use futures::stream::{self, Stream};
use server_rpc::protos;
use server_rpc::tonic::Status;
use tokio::sync::broadcast;

use super::super::state::Ark;
use super::super::status::RpcError;

/// Events that a slow subscriber may fall behind before it is dropped.
const BACKLOG: usize = 64;

/// The latest event and those who wait for the next one.
pub struct Events {
    live: broadcast::Sender<protos::RoundEvent>,
    last: Mutex<Option<protos::RoundEvent>>,
}

impl Default for Events {
    fn default() -> Events {
        Events {
            live: broadcast::Sender::new(BACKLOG),
            last: Mutex::default(),
        }
    }
}

impl Events {
    /// Tells everybody.
    pub fn publish(&self, event: &RoundEvent) {
        let event = protos::RoundEvent::from(event);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // An error says that nobody is listening.
        let _ = self.live.send(event.clone());
        *last = Some(event);
    }

    /// Whether anybody is listening.
    pub fn has_subscribers(&self) -> bool {
        self.live.receiver_count() > 0
    }

    fn last(&self) -> Option<protos::RoundEvent> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The latest event and all after it.
    fn subscribe(
        &self,
    ) -> (
        Option<protos::RoundEvent>,
        broadcast::Receiver<protos::RoundEvent>,
    ) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (last.clone(), self.live.subscribe())
    }
}

impl Ark {
    /// `LastRoundEvent`.
    pub(in super::super) async fn last_round_event(
        &self,
        _request: protos::Empty,
    ) -> Result<protos::RoundEvent, RpcError> {
        self.rounds.events.last().ok_or(RpcError::NotFound {
            what: "round event",
            ids: vec![],
        })
    }

    /// `SubscribeRounds`: the last event, then whatever happens, until this run of the server ends.
    pub(in super::super) fn subscribe_rounds(
        self: &Arc<Self>,
    ) -> impl Stream<Item = Result<protos::RoundEvent, Status>> + Send + use<> {
        let (first, live) = self.rounds.events.subscribe();
        let subscription = Subscription {
            ark: self.clone(),
            first,
            live,
            messages_left: self.faults.on_stream("SubscribeRounds"),
        };
        stream::try_unfold(subscription, |mut subscription| async {
            let event = subscription.next().await?;
            Ok(Some((event, subscription)))
        })
    }
}

/// One subscriber.
struct Subscription {
    ark: Arc<Ark>,
    first: Option<protos::RoundEvent>,
    live: broadcast::Receiver<protos::RoundEvent>,
    /// Set by a fault rule: the stream breaks after so many.
    messages_left: Option<usize>,
}

impl Subscription {
    async fn next(&mut self) -> Result<protos::RoundEvent, RpcError> {
        match &mut self.messages_left {
            Some(0) => return Err(RpcError::Lost("stream cut")),
            Some(left) => *left -= 1,
            None => {}
        }
        if let Some(event) = self.first.take() {
            return Ok(event);
        }
        tokio::select! {
            biased;
            event = self.live.recv() => event.map_err(|_| RpcError::Lost("too slow")),
            () = self.ark.alive.cancelled() => Err(RpcError::Lost("server restarted")),
        }
    }
}
