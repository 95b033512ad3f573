use ark_lib::attestations::OffboardRequestAttestation;
use ark_lib::connectors::{ConnectorChain, construct_multi_connector_fanout_tx};
use ark_lib::musig::PublicNonce;
use ark_lib::offboard::{OffboardForfeitContext, OffboardRequest};
use bitcoin::consensus::encode::deserialize;
use bitcoin::hashes::Hash;
use bitcoin_ext::fee::fee_anchor;
use server_rpc::tonic::Code;
use server_rpc::{StatusExt, TryFromBytes};

use super::chains::on_both_chains;
use super::*;
use crate::ark::OffboardFault;

fn offboard(amount: u64) -> OffboardRequest {
    OffboardRequest {
        script_pubkey: anyone_can_spend().to_p2wsh(),
        net_amount: sat(amount),
        deduct_fees_from_gross_amount: false,
        fee_rate: FeeRate::from_sat_per_vb_u32(2),
    }
}

/// Even without fees a client pays for its output: 34 bytes at 2 sat/vB.
const FEE: u64 = 68;

/// What the server has prepared.
struct Prepared {
    tx: Transaction,
    nonces: Vec<PublicNonce>,
}

impl Wallet {
    async fn prepare(
        &self,
        request: &OffboardRequest,
        inputs: &[Vtxo<Full>],
    ) -> Result<Prepared, Status> {
        let ids: Vec<_> = inputs.iter().map(Vtxo::id).collect();
        let request = protos::PrepareOffboardRequest {
            offboard: Some(request.into()),
            input_vtxo_ids: ids.iter().map(|id| id.to_bytes().to_vec()).collect(),
            attestation: inputs
                .iter()
                .map(|_| OffboardRequestAttestation::new(request, &ids, &self.key).serialize())
                .collect(),
        };
        let mut client = self.rpc.client.clone();
        let response = client.prepare_offboard(request).await?.into_inner();
        Ok(Prepared {
            tx: deserialize(&response.offboard_tx).unwrap(),
            nonces: response
                .forfeit_cosign_nonces
                .iter()
                .map(|bytes| PublicNonce::from_bytes(bytes).unwrap())
                .collect(),
        })
    }

    /// Checks what is prepared and signs the forfeits.
    fn sign_offboard(
        &self,
        request: &OffboardRequest,
        inputs: &[Vtxo<Full>],
        prepared: &Prepared,
    ) -> Option<protos::FinishOffboardRequest> {
        let context = OffboardForfeitContext::new(inputs, &prepared.tx).unwrap();
        context.validate_offboard_tx(request).ok()?;
        let keys = vec![self.key; inputs.len()];
        let signed = context.user_sign_forfeits(&keys, &prepared.nonces).ok()?;
        Some(protos::FinishOffboardRequest {
            offboard_txid: prepared.tx.compute_txid().to_byte_array().to_vec(),
            user_nonces: signed
                .public_nonces
                .iter()
                .map(|nonce| nonce.serialize().to_vec())
                .collect(),
            partial_signatures: signed
                .partial_signatures
                .iter()
                .map(|signature| signature.serialize().to_vec())
                .collect(),
        })
    }

    async fn finish_offboard(
        &self,
        request: &protos::FinishOffboardRequest,
    ) -> Result<Transaction, Status> {
        let mut client = self.rpc.client.clone();
        let response = client.finish_offboard(request.clone()).await?.into_inner();
        Ok(deserialize(&response.signed_offboard_tx).unwrap())
    }
}

/// A script that is not the one of [`offboard`].
fn blocked_script() -> ScriptBuf {
    ScriptBuf::builder()
        .push_opcode(OP_TRUE)
        .into_script()
        .to_p2sh()
}

/// A sandbox with a wallet that owns coins of these amounts and knows the fee rate.
async fn with_coins(params: Params, amounts: &[u64]) -> (Sandbox, Wallet, Vec<Vtxo<Full>>) {
    let sandbox = Sandbox::start(params).await;
    let wallet = sandbox.wallet().await;
    let mut inputs = Vec::new();
    for amount in amounts {
        inputs.push(sandbox.board(&wallet, sat(*amount)).await);
    }
    (sandbox, wallet, inputs)
}

#[tokio::test]
async fn coins_leave_with_one_input_and_with_three() {
    for amounts in [&[20_000][..], &[20_000, 5_000, 1_000]] {
        let (sandbox, wallet, inputs) = with_coins(Params::free(), amounts).await;
        let total = amounts.iter().sum::<u64>();
        let before = sandbox.server.coin_balance().await.unwrap();
        let request = offboard(total - FEE);
        let prepared = wallet.prepare(&request, &inputs).await.unwrap();
        assert_eq!(prepared.tx.output[0], request.to_txout());
        assert_eq!(prepared.tx.output[1].value, sat(330) * inputs.len() as u64);
        let again = wallet.prepare(&request, &inputs).await.unwrap();
        assert_eq!(again.tx, prepared.tx);
        assert_eq!(again.nonces, prepared.nonces);
        let payment = wallet.payment(&inputs[0], &[(wallet.key.public_key(), amounts[0])]);
        let busy = wallet.cosign(&payment).await.unwrap_err();
        assert_eq!(busy.code(), Code::InvalidArgument, "{busy}");
        assert!(busy.message().contains("already locked"), "{busy}");
        assert!(busy.rejected_vtxos().is_empty());

        let finish = wallet.sign_offboard(&request, &inputs, &prepared).unwrap();
        let signed = wallet.finish_offboard(&finish).await.unwrap();
        assert_eq!(signed.compute_txid(), prepared.tx.compute_txid());
        assert_eq!(wallet.finish_offboard(&finish).await.unwrap(), signed);
        sandbox.server.restart().await;
        let wallet = Wallet {
            rpc: sandbox.connect().await,
            ..wallet
        };
        assert_unknown(wallet.finish_offboard(&finish).await);
        sandbox.chain.mine(1).await.unwrap();
        let mined = sandbox.chain.tx(signed.compute_txid()).await.unwrap();
        assert!(mined.unwrap().block.is_some());

        let ledger = sandbox.server.ledger().unwrap();
        assert_eq!(ledger.spent.amount, sat(total));
        let status = wallet.prepare(&request, &inputs).await.err().unwrap();
        assert!(status.message().contains("already spent"), "{status}");
        assert!(status.rejected_vtxos().is_empty());
        let balance = sandbox.server.coin_balance().await.unwrap();
        assert!(balance.confirmed < before.confirmed);
        assert_eq!(balance.locked, Amount::ZERO);
    }
}

/// A real server says of a committed offboard, too, that it does not know it.
fn assert_unknown(finished: Result<Transaction, Status>) {
    let status = finished.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(
        status.message().contains("unknown offboard txid"),
        "{status}"
    );
}

/// The server keeps an offboard in RAM for 30 s from its preparation on.
#[tokio::test]
async fn a_finished_offboard_is_repeated_only_while_its_session_lasts() {
    let (sandbox, wallet, inputs) = with_coins(Params::free(), &[20_000]).await;
    let request = offboard(20_000 - FEE);
    let prepared = wallet.prepare(&request, &inputs).await.unwrap();
    let finish = wallet.sign_offboard(&request, &inputs, &prepared).unwrap();
    let signed = wallet.finish_offboard(&finish).await.unwrap();
    assert_eq!(wallet.finish_offboard(&finish).await.unwrap(), signed);
    sandbox.server.forget_offboards().await;
    assert_unknown(wallet.finish_offboard(&finish).await);
    let known = sandbox.chain.tx(signed.compute_txid()).await.unwrap();
    assert!(known.is_some(), "it is carried out all the same");
    assert_eq!(sandbox.server.ledger().unwrap().spent.count, 1);
}

#[tokio::test]
async fn an_offboard_with_the_same_input_twice_is_not_found() {
    let (_sandbox, wallet, inputs) = with_coins(Params::free(), &[20_000]).await;
    let twice = [inputs[0].clone(), inputs[0].clone()];
    let status = wallet.prepare(&offboard(30_000), &twice).await;
    let status = status.err().unwrap();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    assert!(status.rejected_vtxos().is_empty());
}

#[tokio::test]
async fn refusals_contain_the_texts_that_clients_match() {
    let (sandbox, wallet, inputs) = with_coins(
        Params {
            blocked_scripts: vec![blocked_script()],
            ..Params::free()
        },
        &[20_000],
    )
    .await;
    let good = offboard(20_000 - FEE);
    let deducting = OffboardRequest {
        deduct_fees_from_gross_amount: true,
        ..good.clone()
    };
    let refused = async |request: OffboardRequest| {
        let status = wallet.prepare(&request, &inputs).await.err().unwrap();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.rejected_vtxos().is_empty());
        status.message().to_owned()
    };
    let with_rate = |rate| OffboardRequest {
        fee_rate: FeeRate::from_sat_per_vb_u32(rate),
        ..good.clone()
    };
    assert!(
        refused(with_rate(3))
            .await
            .contains("fee rate is no longer valid")
    );
    let blocked = OffboardRequest {
        script_pubkey: blocked_script(),
        ..good.clone()
    };
    assert!(refused(blocked).await.contains("output address is blocked"));
    for base in [&good, &deducting] {
        let much = OffboardRequest {
            net_amount: base.net_amount + sat(1),
            ..base.clone()
        };
        assert!(
            refused(much)
                .await
                .contains("does not match expected amount")
        );
    }
    refused(offboard(100)).await;

    let mut rates = sandbox.chain.fee_rates().await.unwrap();
    rates.regular = FeeRate::from_sat_per_vb_u32(3);
    sandbox.chain.set_fee_rates(rates).await.unwrap();
    assert!(refused(with_rate(3)).await.contains("fee rate"));
    let told = wallet.rpc.offboard_feerate().await.unwrap();
    assert_eq!(told, rates.regular);
    let paying_too_much = OffboardRequest {
        net_amount: sat(10_000),
        ..with_rate(3)
    };
    wallet.prepare(&paying_too_much, &inputs).await.unwrap();
    sandbox.server.restart().await;
}

#[tokio::test]
async fn a_session_that_is_not_finished_in_time_frees_coins_and_inputs() {
    let (sandbox, wallet, inputs) = with_coins(
        Params {
            offboard_session_timeout: Duration::ZERO,
            ..Params::free()
        },
        &[20_000],
    )
    .await;
    let request = offboard(20_000 - FEE);
    let prepared = wallet.prepare(&request, &inputs).await.unwrap();
    let finish = wallet.sign_offboard(&request, &inputs, &prepared).unwrap();
    assert_unknown(wallet.finish_offboard(&finish).await);
    let balance = sandbox.server.coin_balance().await.unwrap();
    assert_eq!(balance.locked, Amount::ZERO);
    let me = wallet.key.public_key();
    wallet.pay(&inputs[0], &[(me, 20_000)]).await;
}

#[tokio::test]
async fn wrong_signatures_change_nothing() {
    let (sandbox, wallet, inputs) = with_coins(Params::free(), &[20_000, 5_000]).await;
    let request = offboard(25_000 - FEE);
    let prepared = wallet.prepare(&request, &inputs).await.unwrap();
    let right = wallet.sign_offboard(&request, &inputs, &prepared).unwrap();
    let mut few = right.clone();
    few.partial_signatures.pop();
    let status = wallet.finish_offboard(&few).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let mut unknown = right.clone();
    unknown.offboard_txid = vec![1; 32];
    assert_unknown(wallet.finish_offboard(&unknown).await);
    let mut wrong = right.clone();
    wrong.partial_signatures.swap(0, 1);
    let status = wallet.finish_offboard(&wrong).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    // The nonces are used up, so it takes another preparation.
    assert_unknown(wallet.finish_offboard(&right).await);
    assert_eq!(sandbox.server.ledger().unwrap().spent.count, 0);

    let prepared = wallet.prepare(&request, &inputs).await.unwrap();
    let finish = wallet.sign_offboard(&request, &inputs, &prepared).unwrap();
    wallet.finish_offboard(&finish).await.unwrap();
}

#[tokio::test]
async fn what_is_prepared_can_be_wrong_or_forgotten() {
    let (sandbox, mut wallet, inputs) = with_coins(Params::free(), &[20_000]).await;
    let faults = sandbox.server.faults();
    let request = offboard(20_000 - FEE);
    for change in [
        OffboardFault::WrongAmount,
        OffboardFault::WrongScript,
        OffboardFault::MissingConnector,
        OffboardFault::MissingNonce,
    ] {
        let fault = fault("offboard.prepared", Action::AlterOffboard { change });
        faults.add(fault).unwrap();
        let prepared = wallet.prepare(&request, &inputs).await.unwrap();
        let signed = wallet.sign_offboard(&request, &inputs, &prepared);
        assert!(signed.is_none(), "{change:?}");
        sandbox.server.restart().await;
        wallet.rpc = sandbox.connect().await;
    }
}

/// Waits until the chain has a transaction.
async fn mempool_tx(sandbox: &Sandbox, txid: bitcoin::Txid) -> Transaction {
    loop {
        if let Some(found) = sandbox.chain.tx(txid).await.unwrap() {
            return found.tx;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_end_of_an_offboard_can_be_false_or_lost() {
    let faults = [
        ("offboard.prepared", Action::Forget),
        ("offboard.prepared", Action::Crash),
        ("offboard.persisted", Action::Crash),
        ("offboard.persisted", Action::OtherTxid),
        ("offboard.persisted", Action::Withhold),
    ];
    for (hook, action) in faults {
        let (sandbox, mut wallet, inputs) = with_coins(Params::free(), &[20_000]).await;
        sandbox
            .server
            .faults()
            .add(fault(hook, action.clone()))
            .unwrap();
        let request = offboard(20_000 - FEE);
        // A client that lost an answer asks again, and after a loss of the session from the start.
        let mut wrong_ids = 0;
        let signed = loop {
            let Ok(prepared) = wallet.prepare(&request, &inputs).await else {
                wallet.rpc = sandbox.connect().await;
                continue;
            };
            let finish = wallet.sign_offboard(&request, &inputs, &prepared).unwrap();
            let mut answer = wallet.finish_offboard(&finish).await;
            if answer.as_ref().is_err_and(|status| !status.is_rejection()) {
                wallet.rpc = sandbox.connect().await;
                answer = wallet.finish_offboard(&finish).await;
            }
            let signed = match answer {
                Ok(signed) => signed,
                // Refused although it is carried out: the chain shows it.
                Err(_) if sandbox.server.ledger().unwrap().spent.count == 1 => {
                    break mempool_tx(&sandbox, prepared.tx.compute_txid()).await;
                }
                Err(_) => continue,
            };
            if signed.compute_txid() == prepared.tx.compute_txid() {
                break signed;
            }
            wrong_ids += 1;
            break wallet.finish_offboard(&finish).await.unwrap();
        };
        assert_eq!(wrong_ids == 1, action == Action::OtherTxid);
        assert_eq!(sandbox.server.ledger().unwrap().spent.count, 1);
        let withheld = action == Action::Withhold;
        let txid = signed.compute_txid();
        while !withheld && sandbox.chain.tx(txid).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        sandbox.server.restart().await;
        let known = sandbox.chain.tx(txid).await.unwrap().is_some();
        assert_eq!(known, !withheld, "{hook} {action:?}");
        assert_eq!(sandbox.server.faults().active()[0].fired, 1);
    }
}

#[tokio::test]
async fn the_server_claims_the_exit_of_an_offboarded_vtxo() {
    for amounts in [&[20_000][..], &[20_000, 5_000]] {
        let (sandbox, wallet, inputs) = with_coins(Params::free(), amounts).await;
        let request = offboard(amounts.iter().sum::<u64>() - FEE);
        let prepared = wallet.prepare(&request, &inputs).await.unwrap();
        let finish = wallet.sign_offboard(&request, &inputs, &prepared).unwrap();
        let signed = wallet.finish_offboard(&finish).await.unwrap();
        sandbox.chain.mine(1).await.unwrap();
        sandbox.exit(&inputs[0]).await;

        let store = &sandbox.server.runs.current().store;
        let mut connector = OutPoint::new(signed.compute_txid(), 1);
        if inputs.len() > 1 {
            let script = &signed.output[1].script_pubkey;
            let fan_out = construct_multi_connector_fanout_tx(connector, inputs.len(), script);
            connector = OutPoint::new(fan_out.compute_txid(), 0);
            let fan_out = store.signed_tx(connector.txid).unwrap().unwrap();
            sandbox.mine_with_fee(fan_out).await;
        }
        let forfeit = forfeit_of(&inputs[0], connector);
        let forfeit = store.signed_tx(forfeit.compute_txid()).unwrap().unwrap();
        sandbox.mine_with_fee(forfeit).await;
    }
}

on_both_chains! { the_connector_of_an_offboard_comes_before_its_forfeit }

async fn the_connector_of_an_offboard_comes_before_its_forfeit(chain: Chain) {
    let (sandbox, wallet) = Sandbox::by_hand(chain, Params::free()).await;
    let mut inputs = Vec::new();
    for amount in [20_000, 5_000] {
        inputs.push(sandbox.board(&wallet, sat(amount)).await);
    }
    wallet.rpc.offboard_feerate().await.unwrap();
    let request = offboard(25_000 - FEE);
    let prepared = wallet.prepare(&request, &inputs).await.unwrap();
    let finish = wallet.sign_offboard(&request, &inputs, &prepared).unwrap();
    let signed = wallet.finish_offboard(&finish).await.unwrap();
    sandbox.chain.mine(1).await.unwrap();
    sandbox.exit(&inputs[0]).await;
    sandbox.chain.mine(2).await.unwrap();
    let connector = sandbox.mined_reaction().await;
    let spent = connector.input[0].previous_output;
    assert_eq!(spent, OutPoint::new(signed.compute_txid(), 1));
    let forfeit = sandbox.mined_reaction().await;
    assert_eq!(forfeit.input[0].previous_output, inputs[0].point());
    assert!(sandbox.reactions().await.is_empty());
}

/// The unsigned transaction by which the server takes a coin that was given up.
fn forfeit_of(vtxo: &Vtxo<Full>, connector: OutPoint) -> Transaction {
    let input = |previous_output| TxIn {
        previous_output,
        sequence: Sequence::MAX,
        ..TxIn::default()
    };
    let to_server = ConnectorChain::output(1, vtxo.server_pubkey());
    Transaction {
        version: Version(3),
        lock_time: LockTime::ZERO,
        input: vec![input(vtxo.point()), input(connector)],
        output: vec![
            TxOut {
                value: vtxo.amount() + to_server.value,
                ..to_server
            },
            fee_anchor(),
        ],
    }
}
