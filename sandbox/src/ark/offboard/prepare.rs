//! The first half of an offboard: the server prepares the transaction and sends it unsigned.

use std::collections::{BTreeMap, BTreeSet};

use ark_lib::VtxoId;
use ark_lib::attestations::OffboardRequestAttestation;
use ark_lib::connectors::ConnectorChain;
use ark_lib::fees::VtxoFeeInfo;
use ark_lib::musig;
use ark_lib::offboard::OffboardRequest;
use ark_lib::vtxo::VtxoPolicyKind;
use bitcoin::{Amount, FeeRate, ScriptBuf, Transaction};
use bitcoin_ext::BlockHeight;
use server_rpc::{TryFromBytes, protos};
use tokio::time::Instant;

use super::super::faults::{Action, Hook, OffboardFault};
use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::VtxoRecord;
use super::sessions::Session;

impl Ark {
    /// `PrepareOffboard`. The same request again gets the same answer for as long as the session lasts.
    pub(in super::super) async fn prepare_offboard(
        &self,
        request: protos::PrepareOffboardRequest,
    ) -> Result<protos::PrepareOffboardResponse, RpcError> {
        let offboard = request
            .offboard
            .clone()
            .ok_or_else(|| RpcError::bad("no offboard"))?;
        let offboard = OffboardRequest::try_from(offboard)?;
        offboard.validate().map_err(RpcError::bad)?;
        let ids = self.decode_inputs(&request.input_vtxo_ids)?;
        let attestations = request
            .attestation
            .iter()
            .map(OffboardRequestAttestation::from_bytes)
            .collect::<Result<Vec<_>, _>>()?;
        if attestations.len() != ids.len() {
            return Err(RpcError::bad(
                "there must be one attestation for each input",
            ));
        }

        let _turn = self.turn().await;
        let inputs = self.known(&ids)?;
        let attested = check_attestations(&attestations, &offboard, &ids, &inputs);
        self.forget_late_offboards().await;
        if attested.is_ok()
            && let Some(answer) = self.already_prepared(&request)
        {
            return Ok(answer);
        }
        let tip = self.tip_height().await?;
        let terms = attested.and_then(|()| self.check_terms(&offboard, &inputs, tip));
        if terms.is_ok() {
            self.check_not_exited(&inputs, &BTreeMap::new()).await?;
        }
        self.check_new_spend(&inputs, terms)
            .await
            .map_err(RpcError::without_spent_ids)?;

        let session = self.open_session(request, &offboard, ids).await?;
        let (txid, tx, lock) = (session.tx.compute_txid(), session.tx.clone(), session.lock);
        let mut answer = session.answer();
        self.offboards.sessions().insert(txid, session);
        match self.hook(Hook::OffboardPrepared)? {
            Some(Action::AlterOffboard { change }) => alter(&mut answer, tx, change),
            Some(Action::Forget) => {
                self.offboards.sessions().remove(&txid);
                self.coins.release(lock).await;
            }
            _ => {}
        }
        Ok(answer)
    }

    fn decode_inputs(&self, ids: &[Vec<u8>]) -> Result<Vec<VtxoId>, RpcError> {
        let max = self.params.max_offboard_inputs;
        if ids.is_empty() || ids.len() > max {
            return Err(RpcError::bad(format!("an offboard has 1 to {max} inputs")));
        }
        let ids = ids
            .iter()
            .map(VtxoId::from_bytes)
            .collect::<Result<Vec<_>, _>>()?;
        let distinct: BTreeSet<&VtxoId> = ids.iter().collect();
        if distinct.len() < ids.len() {
            return Err(RpcError::repeated_vtxo());
        }
        Ok(ids)
    }

    fn already_prepared(
        &self,
        request: &protos::PrepareOffboardRequest,
    ) -> Option<protos::PrepareOffboardResponse> {
        // Attestations contain random nonces, so they are not compared.
        let same = |session: &&Session| {
            session.request.offboard == request.offboard
                && session.request.input_vtxo_ids == request.input_vtxo_ids
        };
        let sessions = self.offboards.sessions();
        sessions.values().find(same).map(Session::answer)
    }

    /// Checks destination, fee rate and amount. Clients read three of the texts (docs/protocol.md §30.4).
    fn check_terms(
        &self,
        offboard: &OffboardRequest,
        inputs: &[VtxoRecord],
        tip: BlockHeight,
    ) -> Result<(), RpcError> {
        let script = &offboard.script_pubkey;
        if self.params.blocked_scripts.contains(script) {
            return Err(RpcError::bad("output address is blocked"));
        }
        if inputs
            .iter()
            .any(|input| input.vtxo.policy_type() != VtxoPolicyKind::Pubkey)
        {
            return Err(RpcError::bad("an input must have a pubkey policy"));
        }
        if !self.is_valid_fee_rate(offboard.fee_rate) {
            return Err(RpcError::bad("fee rate is no longer valid"));
        }
        let gross: Amount = inputs.iter().map(|input| input.vtxo.amount()).sum();
        let net = offboard.net_amount;
        let charged = if offboard.deduct_fees_from_gross_amount {
            gross
        } else {
            net
        };
        let infos = inputs
            .iter()
            .map(|input| VtxoFeeInfo::from_vtxo_and_tip(&input.vtxo, tip));
        let fees = &self.params.fees.offboard;
        let needed = fees
            .calculate(script, charged, offboard.fee_rate, infos)
            .and_then(|fee| net.checked_add(fee))
            .ok_or_else(|| RpcError::bad("fee overflow"))?;
        // A fee above the minimum is accepted: new blocks may have lowered the minimum since the client computed it.
        if needed > gross {
            return Err(RpcError::bad(format!(
                "{net} and the fee need {needed}: {gross} does not match expected amount"
            )));
        }
        Ok(())
    }

    /// Builds the transaction and draws the nonces.
    async fn open_session(
        &self,
        request: protos::PrepareOffboardRequest,
        offboard: &OffboardRequest,
        inputs: Vec<VtxoId>,
    ) -> Result<Session, RpcError> {
        let connector = ConnectorChain::output(inputs.len(), self.keys.server.public_key());
        let funded = self
            .coins
            .fund(vec![offboard.to_txout(), connector], offboard.fee_rate)
            .await?;
        let (secret_nonces, public_nonces): (Vec<_>, Vec<_>) = inputs
            .iter()
            .map(|_| musig::nonce_pair(&self.keys.server))
            .unzip();
        Ok(Session {
            request,
            inputs,
            tx: funded.tx,
            lock: funded.lock,
            public_nonces,
            secret_nonces: Some(secret_nonces),
            deadline: Instant::now() + self.params.offboard_session_timeout,
        })
    }

    /// Forgets the sessions that have lasted long enough, and frees the coins of those that were not finished.
    pub(in super::super) async fn forget_late_offboards(&self) {
        let now = Instant::now();
        self.forget_offboards(|session| session.deadline <= now)
            .await;
    }

    /// Forgets every session, as the server does by itself when they have lasted long enough.
    pub(in super::super) async fn forget_all_offboards(&self) {
        let _turn = self.turn().await;
        self.forget_offboards(|_| true).await;
    }

    async fn forget_offboards(&self, is_late: impl Fn(&Session) -> bool) {
        let mut late = Vec::new();
        self.offboards.sessions().retain(|_, session| {
            let in_time = !is_late(session);
            if !in_time {
                late.push(session.lock);
            }
            in_time
        });
        for lock in late {
            self.coins.release(lock).await;
        }
    }

    /// The current fee rate for offboards, which the caller is about to tell a client.
    pub(in super::super) async fn announce_offboard_fee_rate(&self) -> Result<FeeRate, RpcError> {
        let rate = self.chain.fee_rates().await?.regular;
        let validity = self.params.offboard_fee_rate_validity;
        self.offboards
            .announced_rates
            .note(rate, Instant::now(), validity);
        Ok(rate)
    }

    /// Whether clients may still use this rate.
    fn is_valid_fee_rate(&self, rate: FeeRate) -> bool {
        let validity = self.params.offboard_fee_rate_validity;
        self.offboards
            .announced_rates
            .holds(rate, Instant::now(), validity)
    }
}

fn check_attestations(
    attestations: &[OffboardRequestAttestation],
    offboard: &OffboardRequest,
    ids: &[VtxoId],
    inputs: &[VtxoRecord],
) -> Result<(), RpcError> {
    for (attestation, input) in attestations.iter().zip(inputs) {
        attestation
            .verify(offboard, ids, &input.vtxo)
            .map_err(|_| RpcError::bad(format!("wrong attestation: {}", input.vtxo.id())))?;
    }
    Ok(())
}

fn alter(answer: &mut protos::PrepareOffboardResponse, mut tx: Transaction, change: OffboardFault) {
    match change {
        OffboardFault::WrongAmount => tx.output[0].value -= Amount::ONE_SAT,
        OffboardFault::WrongScript => tx.output[0].script_pubkey = ScriptBuf::new(),
        OffboardFault::MissingConnector => {
            tx.output.remove(1);
        }
        OffboardFault::MissingNonce => {
            answer.forfeit_cosign_nonces.pop();
        }
    }
    answer.offboard_tx = bitcoin::consensus::serialize(&tx);
}
