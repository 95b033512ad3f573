//! What the server posts to a wallet.

use ark_lib::mailbox::{MailboxAuthorization, MailboxIdentifier};
use server_rpc::protos::mailbox_server::MailboxRequest;

use super::*;

impl Wallet {
    pub(super) fn mailbox(&self) -> MailboxIdentifier {
        MailboxIdentifier::from_pubkey(self.key.public_key())
    }

    /// The messages about Lightning, oldest first.
    pub(super) async fn told(&self) -> Vec<Message> {
        // Tests let time pass at the server.
        let expiry = chrono::Local::now() + chrono::Duration::hours(3);
        let request = MailboxRequest {
            mailbox_id: self.mailbox().serialize(),
            authorization: Some(MailboxAuthorization::new(&self.key, expiry).serialize()),
            checkpoint: 0,
        };
        let mut client = self.rpc.mailbox_client.clone();
        let page = client.read_mailbox(request).await.unwrap().into_inner();
        page.messages
            .into_iter()
            .filter_map(|message| message.message)
            .collect()
    }

    /// The preimages of the messages about finished payments; `None` for failed ones.
    pub(super) async fn told_outcomes(&self) -> Vec<Option<Vec<u8>>> {
        let told = self.told().await.into_iter();
        told.filter_map(|message| match message {
            Message::LightningSendFinished(finished) => Some(finished.preimage),
            _ => None,
        })
        .collect()
    }
}
