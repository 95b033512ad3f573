//! How clients learn of the events of rounds (docs/protocol.md §31.4).

use std::sync::Arc;

use futures::stream::{self, Stream};
use server_rpc::protos;
use server_rpc::tonic::Status;
use tokio::sync::broadcast;

use super::super::state::Ark;
use super::super::status::RpcError;

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

    /// `SubscribeRounds`: the latest event, then each new one, until this run of the server ends.
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
    /// Set by a fault: the stream breaks after this many messages.
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
