use ark_lib::VtxoId;
use ark_lib::attestations::VtxoStatusAttestation;
use ark_lib::mailbox::{BlindedMailboxIdentifier, MailboxAuthorization, MailboxIdentifier};
use server_rpc::protos::VtxoSpendState;
use server_rpc::protos::mailbox_server::{
    MailboxMessage, MailboxMessages, MailboxRequest, PostArkoorMessageRequest,
    PostRecoveryVtxoIdsRequest, mailbox_message::Message,
};
use server_rpc::tonic::Code;
use tokio_stream::StreamExt;

use super::*;

/// A mailbox and how its owner reads it.
pub struct Mailbox(pub Keypair);

impl Mailbox {
    fn request(&self, checkpoint: u64) -> MailboxRequest {
        MailboxRequest {
            mailbox_id: MailboxIdentifier::from_pubkey(self.0.public_key()).serialize(),
            authorization: Some(authorization(&self.0, 60)),
            checkpoint,
        }
    }

    pub async fn read(&self, wallet: &Wallet, checkpoint: u64) -> MailboxMessages {
        let mut client = wallet.rpc.mailbox_client.clone();
        let request = self.request(checkpoint);
        client.read_mailbox(request).await.unwrap().into_inner()
    }

    async fn post(
        &self,
        wallet: &Wallet,
        vtxos: impl IntoIterator<Item = &Vtxo<Full>>,
    ) -> Result<(), Status> {
        let mailbox = MailboxIdentifier::from_pubkey(self.0.public_key());
        let blinded =
            BlindedMailboxIdentifier::new(mailbox, wallet.info.mailbox_pubkey, &wallet.key)
                .unwrap();
        let request = PostArkoorMessageRequest {
            blinded_id: blinded.serialize(),
            vtxos: vtxos.into_iter().map(ProtocolEncoding::serialize).collect(),
        };
        let mut client = wallet.rpc.mailbox_client.clone();
        client.post_arkoor_message(request).await.map(drop)
    }
}

fn authorization(key: &Keypair, secs_left: i64) -> Vec<u8> {
    let expiry = chrono::Local::now() + chrono::Duration::seconds(secs_left);
    MailboxAuthorization::new(key, expiry).serialize()
}

fn checkpoints(messages: &[MailboxMessage]) -> Vec<u64> {
    messages.iter().map(|message| message.checkpoint).collect()
}

#[tokio::test]
async fn a_repeated_post_is_delivered_once() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let mailbox = Mailbox(new_key());
    let vtxo = sandbox.board(&wallet, sat(1_000)).await;
    mailbox.post(&wallet, [&vtxo]).await.unwrap();
    mailbox.post(&wallet, [&vtxo, &vtxo]).await.unwrap();

    let page = mailbox.read(&wallet, 0).await;
    let [message] = &page.messages[..] else {
        panic!("{page:?}")
    };
    let Some(Message::Arkoor(arkoor)) = &message.message else {
        panic!("{message:?}")
    };
    assert_eq!(arkoor.vtxos, vec![vtxo.serialize()]);
    assert!(!page.have_more);
    let page = mailbox.read(&wallet, message.checkpoint).await;
    assert!(page.messages.is_empty());
    assert!(
        Mailbox(new_key())
            .read(&wallet, 0)
            .await
            .messages
            .is_empty()
    );
}

#[tokio::test]
async fn a_full_mailbox_is_read_page_by_page() {
    let sandbox = Sandbox::start(Params {
        max_read_mailbox_items: 2,
        ..Params::free()
    })
    .await;
    let wallet = sandbox.wallet().await;
    let (mine, other) = (Mailbox(new_key()), Mailbox(new_key()));
    for mailbox in [&other, &mine].repeat(5) {
        let vtxo = sandbox.board(&wallet, sat(1_000)).await;
        mailbox.post(&wallet, [&vtxo]).await.unwrap();
    }

    let mut seen = Vec::new();
    loop {
        let page = mine.read(&wallet, seen.last().copied().unwrap_or(0)).await;
        assert!(page.messages.len() <= 2);
        seen.extend(checkpoints(&page.messages));
        if !page.have_more {
            break;
        }
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    let elsewhere = checkpoints(&other.read(&wallet, 0).await.messages);
    assert!(
        elsewhere
            .iter()
            .all(|checkpoint| !seen.contains(checkpoint))
    );
}

#[tokio::test]
async fn only_the_owner_can_read() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let (mailbox, stranger) = (Mailbox(new_key()), new_key());
    let mut client = wallet.rpc.mailbox_client.clone();
    let good = mailbox.request(0);
    let mut forged = authorization(&mailbox.0, 60);
    forged[40] ^= 1;
    for (name, wrong) in [
        ("none", None),
        ("of a stranger", Some(authorization(&stranger, 60))),
        ("expired", Some(authorization(&mailbox.0, -60))),
        ("forged", Some(forged)),
        ("garbage", Some(vec![1, 2, 3])),
    ] {
        let request = MailboxRequest {
            authorization: wrong,
            ..good.clone()
        };
        let status = client.read_mailbox(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name}");
        let status = client.subscribe_mailbox(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name}");
    }
    client.read_mailbox(good).await.unwrap();
}

#[tokio::test]
async fn a_subscriber_gets_what_was_there_and_then_what_arrives() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let mailbox = Mailbox(new_key());
    let early = sandbox.board(&wallet, sat(1_000)).await;
    mailbox.post(&wallet, [&early]).await.unwrap();

    let mut client = wallet.rpc.mailbox_client.clone();
    let request = mailbox.request(0);
    let mut stream = client
        .subscribe_mailbox(request)
        .await
        .unwrap()
        .into_inner();
    let first = stream.next().await.unwrap().unwrap();
    let late = sandbox.board(&wallet, sat(1_000)).await;
    mailbox.post(&wallet, [&late]).await.unwrap();
    let second = stream.next().await.unwrap().unwrap();
    assert!(second.checkpoint > first.checkpoint);

    sandbox.server.restart().await;
    assert!(stream.next().await.unwrap().is_err());
}

#[tokio::test]
async fn a_post_has_to_belong_to_one_key_and_be_known() {
    let sandbox = Sandbox::start(Params::free()).await;
    let (alice, bob) = (sandbox.wallet().await, sandbox.wallet().await);
    let mailbox = Mailbox(new_key());
    let hers = sandbox.board(&alice, sat(1_000)).await;
    let his = sandbox.board(&bob, sat(1_000)).await;
    for mixed in [vec![], vec![&hers, &his]] {
        let status = mailbox.post(&alice, mixed).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    let elsewhere = Sandbox::start(Params::free()).await;
    let stranger = elsewhere.wallet().await;
    let unknown = elsewhere.board(&stranger, sat(1_000)).await;
    let status = mailbox.post(&alice, [&unknown]).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(mailbox.read(&alice, 0).await.messages.is_empty());
}

#[tokio::test]
async fn recovery_ids_are_kept_once_and_lead_back_to_the_vtxos() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let mailbox = Mailbox(new_key());
    let vtxo = sandbox.board(&wallet, sat(1_000)).await;
    let id = vtxo.id().to_bytes().to_vec();
    let post = PostRecoveryVtxoIdsRequest {
        mailbox_id: mailbox.request(0).mailbox_id,
        vtxo_ids: vec![id.clone(), id.clone()],
        authorization: None,
    };
    let mut client = wallet.rpc.mailbox_client.clone();
    client.post_recovery_vtxo_ids(post.clone()).await.unwrap();
    client.post_recovery_vtxo_ids(post.clone()).await.unwrap();
    let page = mailbox.read(&wallet, 0).await;
    assert_eq!(page.messages.len(), 1);
    let unknown = PostRecoveryVtxoIdsRequest {
        vtxo_ids: vec![vec![3; 36]],
        ..post
    };
    let status = client.post_recovery_vtxo_ids(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);

    let mut client = wallet.rpc.client.clone();
    let found = client
        .get_vtxos_by_ids(protos::GetVtxosByIdsRequest {
            vtxo_ids: vec![vec![3; 36], id.clone(), vec![3; 36]],
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.vtxos, vec![vtxo.serialize()]);
    assert_eq!(found.missing_vtxo_ids, vec![vec![3; 36]]);

    let query = |key: &Keypair| protos::GetVtxosStatusByIdsRequest {
        vtxos: vec![protos::VtxoStatusQuery {
            vtxo_id: id.clone(),
            attestation: VtxoStatusAttestation::new(vtxo.id(), key).serialize(),
        }],
    };
    let answer = client.get_vtxos_status_by_ids(query(&wallet.key)).await;
    let states = answer.unwrap().into_inner().vtxos;
    assert_eq!(states[0].spend_state(), VtxoSpendState::Spendable);
    let status = client
        .get_vtxos_status_by_ids(query(&new_key()))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn posts_can_be_lost_or_doubled_and_streams_cut() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let mailbox = Mailbox(new_key());
    let vtxo = sandbox.board(&wallet, sat(1_000)).await;
    let faults = sandbox.server.faults();

    faults.add(fault("mailbox.post", Action::Withhold)).unwrap();
    mailbox.post(&wallet, [&vtxo]).await.unwrap();
    assert!(mailbox.read(&wallet, 0).await.messages.is_empty());
    faults
        .add(fault("mailbox.post", Action::Duplicate))
        .unwrap();
    mailbox.post(&wallet, [&vtxo]).await.unwrap();
    assert_eq!(mailbox.read(&wallet, 0).await.messages.len(), 2);

    let cut = Action::CutStreamAfter { messages: 1 };
    faults.add(fault("SubscribeMailbox", cut)).unwrap();
    let mut client = wallet.rpc.mailbox_client.clone();
    let request = mailbox.request(0);
    let mut stream = client
        .subscribe_mailbox(request)
        .await
        .unwrap()
        .into_inner();
    assert!(stream.next().await.unwrap().is_ok());
    assert_eq!(
        stream.next().await.unwrap().unwrap_err().code(),
        Code::Unavailable
    );
}

/// The ids of the VTXOs in each message.
fn contents(page: &MailboxMessages) -> Vec<Vec<VtxoId>> {
    let vtxos = |message: &MailboxMessage| match &message.message {
        Some(Message::Arkoor(arkoor)) => arkoor.vtxos.clone(),
        other => panic!("{other:?}"),
    };
    let ids = |bodies: Vec<Vec<u8>>| {
        let bodies = bodies.iter();
        bodies
            .map(|body| Vtxo::<Full>::deserialize(body).unwrap().id())
            .collect()
    };
    page.messages.iter().map(vtxos).map(ids).collect()
}

#[tokio::test]
async fn a_page_counts_vtxos_and_can_end_within_a_message() {
    let params = Params {
        max_read_mailbox_items: 3,
        ..Params::free()
    };
    let sandbox = Sandbox::start(params).await;
    let wallet = sandbox.wallet().await;
    let mailbox = Mailbox(new_key());
    let mut posted = Vec::new();
    for _ in 0..2 {
        let pair = [
            sandbox.board(&wallet, sat(1_000)).await,
            sandbox.board(&wallet, sat(1_000)).await,
        ];
        mailbox.post(&wallet, &pair).await.unwrap();
        let mut ids = pair.map(|vtxo| vtxo.id()).to_vec();
        ids.sort();
        posted.push(ids);
    }
    let page = mailbox.read(&wallet, 0).await;
    let [first, cut] = checkpoints(&page.messages)[..] else {
        panic!("{page:?}")
    };
    assert_eq!(contents(&page), [posted[0].clone(), vec![posted[1][0]]]);
    assert!(!page.have_more, "it counts messages");
    // The rest is not behind the message's checkpoint, but part of the message.
    assert!(mailbox.read(&wallet, cut).await.messages.is_empty());
    let page = mailbox.read(&wallet, first).await;
    assert_eq!(contents(&page), [posted[1].clone()]);

    // A stream is read in pages, too.
    let mut client = wallet.rpc.mailbox_client.clone();
    let stream = client.subscribe_mailbox(mailbox.request(0)).await.unwrap();
    let mut stream = stream.into_inner();
    for expected in [&posted[0][..], &posted[1][..1]] {
        let message = stream.next().await.unwrap().unwrap();
        let page = MailboxMessages {
            messages: vec![message],
            have_more: false,
        };
        assert_eq!(contents(&page), [expected.to_vec()]);
    }
}

#[tokio::test]
async fn the_first_post_of_a_vtxo_decides_which_mailbox_gets_it() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let (wrong, right) = (Mailbox(new_key()), Mailbox(new_key()));
    let vtxo = sandbox.board(&wallet, sat(1_000)).await;
    wrong.post(&wallet, [&vtxo]).await.unwrap();
    right.post(&wallet, [&vtxo]).await.unwrap();
    assert_eq!(wrong.read(&wallet, 0).await.messages.len(), 1);
    assert!(right.read(&wallet, 0).await.messages.is_empty());
}

#[tokio::test]
async fn one_unknown_recovery_id_undoes_the_whole_post() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let mailbox = Mailbox(new_key());
    let vtxo = sandbox.board(&wallet, sat(1_000)).await;
    let post = async |vtxo_ids: Vec<Vec<u8>>| {
        let mut client = wallet.rpc.mailbox_client.clone();
        let request = PostRecoveryVtxoIdsRequest {
            mailbox_id: mailbox.request(0).mailbox_id,
            vtxo_ids,
            authorization: None,
        };
        client.post_recovery_vtxo_ids(request).await
    };
    let known = vtxo.id().to_bytes().to_vec();
    let refused = post(vec![known.clone(), vec![3; 36]]).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    assert!(mailbox.read(&wallet, 0).await.messages.is_empty());
    let refused = post(vec![known.clone(); 21]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    post(vec![known]).await.unwrap();
    assert_eq!(mailbox.read(&wallet, 0).await.messages.len(), 1);
}

#[tokio::test]
async fn proofs_are_judged_by_the_clock_of_the_server_which_it_sends() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let mailbox = Mailbox(new_key());
    let ahead = Fault {
        times: None,
        ..fault("clock", Action::SkewClock { seconds: 600 })
    };
    sandbox.server.faults().add(ahead).unwrap();
    let mut client = wallet.rpc.mailbox_client.clone();
    let refused = client.read_mailbox(mailbox.request(0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let long = MailboxRequest {
        authorization: Some(authorization(&mailbox.0, 660)),
        ..mailbox.request(0)
    };
    let answer = client.read_mailbox(long).await.unwrap();
    let ahead = seconds_ahead(&answer);
    assert!((598..=600).contains(&ahead), "{ahead}");
}

#[tokio::test]
async fn time_that_a_test_lets_pass_is_no_difference_of_clocks() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let mailbox = Mailbox(new_key());
    let network = sandbox.server.lightning();
    network.clock().advance(std::time::Duration::from_secs(600));
    let mut client = wallet.rpc.mailbox_client.clone();
    let answer = client.read_mailbox(mailbox.request(0)).await.unwrap();
    let ahead = seconds_ahead(&answer);
    assert!((-2..=0).contains(&ahead), "{ahead}");
}

/// How far the `Date` of an answer is ahead of this machine's clock.
fn seconds_ahead<T>(answer: &server_rpc::tonic::Response<T>) -> i64 {
    let date = answer.metadata().get("date").unwrap().to_str().unwrap();
    let date = chrono::DateTime::parse_from_rfc2822(date).unwrap();
    date.timestamp() - chrono::Utc::now().timestamp()
}
