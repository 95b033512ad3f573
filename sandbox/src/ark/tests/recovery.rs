//! How a wallet finds its VTXOs again (docs/protocol.md §32.9, §40.5).

use ark_lib::VtxoId;
use ark_lib::attestations::VtxoStatusAttestation;
use ark_lib::recovery::XpubRecoveryAuthorization;
use bitcoin::NetworkKind;
use bitcoin::bip32::{ChildNumber, Xpriv, Xpub};
use chrono::{Local, TimeDelta};
use server_rpc::StatusExt;
use server_rpc::protos::{RecoverVtxosByXpubResponse, VtxoSpendState};
use server_rpc::tonic::Code;

use super::*;
use crate::ark::RecoveryFault;

fn account() -> Xpriv {
    Xpriv::new_master(NetworkKind::Test, &[3; 32]).unwrap()
}

impl Sandbox {
    /// A wallet with the key of this index.
    async fn child(&self, index: u32) -> Wallet {
        let child = account().derive_priv(&*SECP, &[ChildNumber::from(index)]);
        Wallet {
            key: child.unwrap().to_keypair(&*SECP),
            ..self.wallet().await
        }
    }
}

impl Wallet {
    fn authorization(&self, seconds: i64) -> Vec<u8> {
        let expiry = Local::now() + TimeDelta::seconds(seconds);
        let server = self.info.server_pubkey;
        XpubRecoveryAuthorization::new(&account(), server, expiry).serialize()
    }

    fn recovery(&self, start: u32, cursor: Option<Vec<u8>>) -> protos::RecoverVtxosByXpubRequest {
        protos::RecoverVtxosByXpubRequest {
            xpub: Xpub::from_priv(&SECP, &account()).encode().to_vec(),
            start_index: start,
            authorization: self.authorization(60),
            cursor_vtxo_id: cursor,
        }
    }

    async fn recover(
        &self,
        request: protos::RecoverVtxosByXpubRequest,
    ) -> Result<RecoverVtxosByXpubResponse, Status> {
        let mut client = self.rpc.client.clone();
        Ok(client.recover_vtxos_by_xpub(request).await?.into_inner())
    }

    async fn get_vtxo(&self, id: VtxoId) -> Result<Vec<u8>, Status> {
        let mut client = self.rpc.client.clone();
        let vtxo_id = id.to_bytes().to_vec();
        let answer = client.get_vtxo(protos::GetVtxoRequest { vtxo_id }).await?;
        Ok(answer.into_inner().vtxo)
    }

    async fn state_with(&self, id: VtxoId, key: &Keypair) -> Result<VtxoSpendState, Status> {
        let request = protos::GetVtxoStatusRequest {
            vtxo_id: id.to_bytes().to_vec(),
            attestation: VtxoStatusAttestation::new(id, key).serialize(),
        };
        let mut client = self.rpc.client.clone();
        Ok(client
            .get_vtxo_status(request)
            .await?
            .into_inner()
            .spend_state())
    }
}

/// The index and the state of each VTXO.
fn told(answer: &RecoverVtxosByXpubResponse) -> Vec<(u32, VtxoSpendState)> {
    let vtxos = answer.vtxos.iter();
    vtxos
        .map(|vtxo| (vtxo.derivation_index, vtxo.spend_state()))
        .collect()
}

#[tokio::test]
async fn an_xpub_finds_the_vtxos_of_all_its_keys_range_by_range() {
    let sandbox = Sandbox::start(Params {
        recovery_xpub_keys: 4,
        ..Params::free()
    })
    .await;
    let (first, second) = (sandbox.child(0).await, sandbox.child(5).await);
    let board = sandbox.board(&first, sat(20_000)).await;
    let paid = first
        .pay(&board, &[(second.key.public_key(), 20_000)])
        .await;

    let answer = first.recover(first.recovery(0, None)).await.unwrap();
    assert_eq!(told(&answer), [(0, VtxoSpendState::Spent)]);
    assert_eq!((answer.nb_keys_scanned, answer.have_more), (4, true));
    let found = Vtxo::<Full>::deserialize(&answer.vtxos[0].vtxo).unwrap();
    assert_eq!(found, board);
    let answer = first.recover(first.recovery(4, None)).await.unwrap();
    assert_eq!(told(&answer), [(5, VtxoSpendState::Spendable)]);
    let found = Vtxo::<Full>::deserialize(&answer.vtxos[0].vtxo).unwrap();
    assert_eq!(found, paid[0]);
    let answer = first.recover(first.recovery(8, None)).await.unwrap();
    assert_eq!((answer.nb_keys_scanned, answer.have_more), (4, false));
    let last = first.recovery((1 << 31) - 1, None);
    let answer = first.recover(last).await.unwrap();
    assert_eq!((answer.nb_keys_scanned, answer.have_more), (1, false));
}

#[tokio::test]
async fn a_full_answer_ends_before_the_next_key_or_within_a_large_one() {
    let sandbox = Sandbox::start(Params {
        recovery_xpub_keys: 4,
        max_recovered_vtxos: 2,
        ..Params::free()
    })
    .await;
    let (small, large) = (sandbox.child(0).await, sandbox.child(1).await);
    sandbox.board(&small, sat(20_000)).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(sandbox.board(&large, sat(20_000)).await.id());
    }
    ids.sort();

    let answer = small.recover(small.recovery(0, None)).await.unwrap();
    assert_eq!((answer.vtxos.len(), answer.nb_keys_scanned), (1, 1));
    assert_eq!((answer.have_more, &answer.cursor_vtxo_id), (true, &None));
    let answer = small.recover(small.recovery(1, None)).await.unwrap();
    assert_eq!((answer.vtxos.len(), answer.nb_keys_scanned), (2, 0));
    let cursor = ids[1].to_bytes().to_vec();
    assert_eq!(answer.cursor_vtxo_id, Some(cursor.clone()));
    assert!(answer.have_more);
    let rest = small.recovery(1, Some(cursor));
    let answer = small.recover(rest).await.unwrap();
    assert_eq!((answer.vtxos.len(), answer.nb_keys_scanned), (1, 4));
    let found = Vtxo::<Full>::deserialize(&answer.vtxos[0].vtxo).unwrap();
    assert_eq!(found.id(), ids[2]);
}

#[tokio::test]
async fn an_xpub_is_recovered_with_its_private_key_only() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let good = wallet.recovery(0, None);
    let other = Xpriv::new_master(NetworkKind::Test, &[4; 32]).unwrap();
    let foreign = Xpub::from_priv(&SECP, &other).encode().to_vec();
    let soon = Local::now() + TimeDelta::seconds(60);
    let elsewhere =
        XpubRecoveryAuthorization::new(&account(), new_key().public_key(), soon).serialize();
    let changed = |change: &dyn Fn(&mut protos::RecoverVtxosByXpubRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let wrong = [
        (changed(&|it| it.xpub.truncate(77)), "invalid xpub"),
        (
            changed(&|it| it.xpub.clone_from(&foreign)),
            "wrong signature",
        ),
        (
            changed(&|it| it.authorization.clone_from(&elsewhere)),
            "wrong signature",
        ),
        (
            changed(&|it| it.authorization = wallet.authorization(-6)),
            "has expired",
        ),
        (
            changed(&|it| it.authorization = wallet.authorization(620)),
            "lasts too long",
        ),
        (changed(&|it| it.authorization.truncate(9)), "malformed"),
        (changed(&|it| it.start_index = 1 << 31), "start_index"),
        (changed(&|it| it.cursor_vtxo_id = Some(vec![1])), ""),
    ];
    for (request, text) in wrong {
        let status = wallet.recover(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{text}");
        assert!(status.message().contains(text), "{status}");
    }
    let answer = wallet.recover(good).await.unwrap();
    assert_eq!(told(&answer), []);
}

#[tokio::test]
async fn an_older_server_has_single_calls_only() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let vtxo = sandbox.board(&wallet, sat(20_000)).await;
    sandbox.server.runs.current().recovery_calls.set(false);
    sandbox.server.restart().await;
    let wallet = Wallet {
        rpc: sandbox.connect().await,
        ..wallet
    };
    let mut client = wallet.rpc.client.clone();
    let by_ids = client.get_vtxos_by_ids(protos::GetVtxosByIdsRequest::default());
    assert_eq!(by_ids.await.unwrap_err().code(), Code::Unimplemented);
    let states = protos::GetVtxosStatusByIdsRequest::default();
    let states = client.get_vtxos_status_by_ids(states);
    assert_eq!(states.await.unwrap_err().code(), Code::Unimplemented);
    let by_xpub = wallet.recover(wallet.recovery(0, None)).await;
    assert_eq!(by_xpub.unwrap_err().code(), Code::Unimplemented);

    let body = wallet.get_vtxo(vtxo.id()).await.unwrap();
    assert_eq!(Vtxo::<Full>::deserialize(&body).unwrap(), vtxo);
    assert_eq!(wallet.spend_state(&vtxo).await, VtxoSpendState::Spendable);
}

#[tokio::test]
async fn anybody_gets_any_output_and_its_owner_its_state() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let stranger = sandbox.wallet().await;
    let vtxo = sandbox.board(&wallet, sat(20_000)).await;
    let own = VtxoId::from(vtxo.chain_anchor());
    assert_eq!(
        stranger.get_vtxo(vtxo.id()).await.unwrap(),
        vtxo.serialize()
    );
    assert!(!stranger.get_vtxo(own).await.unwrap().is_empty());
    let unknown = VtxoId::from_slice(&[1; 36]).unwrap();
    let status = stranger.get_vtxo(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.rejected_vtxos(), [unknown]);

    let payment = wallet.payment(&vtxo, &[(wallet.key.public_key(), 20_000)]);
    let response = wallet.cosign(&payment).await.unwrap();
    let paid = wallet.finish(payment, response).unwrap().remove(0);
    let unsigned = stranger.get_vtxo(paid.id()).await.unwrap();
    let unsigned = Vtxo::<Full>::deserialize(&unsigned).unwrap();
    assert!(!unsigned.has_all_witnesses());
    wallet.register([&paid]).await.unwrap();
    assert_eq!(
        stranger.get_vtxo(paid.id()).await.unwrap(),
        paid.serialize()
    );

    // An unknown one and one of the server's own come before the attestation.
    for id in [unknown, own] {
        let status = wallet.state_with(id, &wallet.key).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.rejected_vtxos(), [id]);
    }
    let status = wallet.state_with(vtxo.id(), &stranger.key).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let text = "invalid VTXO status attestation";
    assert!(status.message().contains(text), "{status}");
}

/// A VTXO of the server has a client's policy, so its attestation is checked first.
#[tokio::test]
async fn the_state_of_a_vtxo_of_the_pool_is_not_told() {
    let sandbox = Sandbox::start(Params::free()).await;
    let wallet = sandbox.wallet().await;
    let ark = sandbox.server.runs.current();
    ark.fill_pool().await;
    let id = ark.store.pool(0).unwrap()[0].id();
    let refused = wallet.state_with(id, &wallet.key).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let missing = wallet.state_with(id, &ark.keys.pool).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
}

fn lie(target: &str, change: RecoveryFault) -> Fault {
    fault(target, Action::AlterRecovery { change })
}

/// A server that is not honest; the wallet of the test sees each lie, and the truth after it.
#[tokio::test]
async fn bodies_states_and_pages_can_be_wrong() {
    let sandbox = Sandbox::start(Params::free()).await;
    let (wallet, other) = (sandbox.child(0).await, sandbox.wallet().await);
    let vtxo = sandbox.board(&wallet, sat(20_000)).await;
    let foreign = sandbox.board(&other, sat(20_000)).await;
    let (id, faults) = (vtxo.id(), sandbox.server.faults());
    let body = async |change| {
        faults.add(lie("recovery.body", change)).unwrap();
        wallet.get_vtxo(id).await
    };
    let garbage = body(RecoveryFault::Garbage).await.unwrap();
    assert!(Vtxo::<Full>::deserialize(&garbage).is_err());
    let taken = body(RecoveryFault::Foreign).await.unwrap();
    assert_eq!(taken, foreign.serialize());
    let missing = body(RecoveryFault::Missing).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(wallet.get_vtxo(id).await.unwrap(), vtxo.serialize());

    let spent = lie("recovery.state", RecoveryFault::Spent);
    faults.add(spent).unwrap();
    assert_eq!(wallet.spend_state(&vtxo).await, VtxoSpendState::Spent);
    assert_eq!(wallet.spend_state(&vtxo).await, VtxoSpendState::Spendable);

    let page = async |change| {
        faults.add(lie("recovery.page", change)).unwrap();
        wallet.recover(wallet.recovery(0, None)).await.unwrap()
    };
    let wrong = page(RecoveryFault::WrongIndex).await;
    assert_eq!(told(&wrong), [(1, VtxoSpendState::Spendable)]);
    let taken = page(RecoveryFault::Foreign).await;
    assert_eq!(taken.vtxos[0].vtxo, foreign.serialize());
    let endless = page(RecoveryFault::Endless).await;
    assert_eq!((endless.nb_keys_scanned, endless.have_more), (0, true));
    let strange = page(RecoveryFault::NewState).await;
    assert_eq!(strange.vtxos[0].spend_state, 99);
    assert!(page(RecoveryFault::Missing).await.vtxos.is_empty());
    let honest = wallet.recover(wallet.recovery(0, None)).await.unwrap();
    assert_eq!(told(&honest), [(0, VtxoSpendState::Spendable)]);
    let nowhere = lie("recovery.state", RecoveryFault::Garbage);
    assert!(faults.add(nowhere).is_err());
}
