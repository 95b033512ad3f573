//! What a VTXO that is not in the database is worth (docs/protocol.md §4.10, §4.11).
//!
//! A judgement compares what the Ark server says with the keys of the wallet, the signatures, and the chain. The server's word alone
//! makes no VTXO spendable: `SPENDABLE` says nothing about an exit, a sweep or the expiry.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ark_lib::vtxo::{Full, VtxoPolicyKind, VtxoValidationError};
use ark_lib::{Vtxo, VtxoId};
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Transaction, Txid};
use server_rpc::protos::VtxoSpendState;

use crate::ark::PinnedKeys;
use crate::chain;
use crate::wallet::account::keys;
use crate::wallet::coins::cores::each_on_all_cores;
use crate::wallet::coins::published::{Standing, standings};
use crate::wallet::coins::validate::has_transactions;
use crate::wallet::{Result, Wallet};

/// Why a candidate is not the wallet's.
pub(super) const FOREIGN: &str = "its key is not the wallet's, or is beyond the gap limit";

/// A VTXO to judge.
#[derive(Clone, Debug)]
pub(in crate::wallet) struct Candidate {
    /// The VTXO with its exit chain. Its id follows from the chain.
    pub(in crate::wallet) vtxo: Vtxo<Full>,
    /// The index at which the server found its key. It is checked, and allows for an index beyond the gap limit.
    pub(in crate::wallet) key_hint: Option<u32>,
    /// What the server says of it; `None` if it has not answered.
    pub(in crate::wallet) state: Option<VtxoSpendState>,
}

/// What a candidate is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::wallet) enum Judgement {
    /// Its key is not the wallet's, or is beyond the gap limit.
    Foreign,
    /// It can never be spent, for this reason.
    Invalid(String),
    /// It was ours, and its value has gone on chain to somebody else or has been claimed, for this reason.
    Gone(String),
    /// It can be spent off chain. It may have expired: while the server has not swept what it hangs from, it is still worth something.
    Spendable,
    /// The server says that it is spent.
    Spent,
    /// Its own transaction is confirmed: it can be spent on chain only.
    Exited,
    /// It belongs to a round or a Lightning payment that is not complete, and is not to be taken by itself, for this reason.
    InFlight(String),
    /// The server or the chain does not say enough, for this reason.
    Undecided(String),
}

/// A candidate with its judgement.
#[derive(Clone, Debug)]
pub(in crate::wallet) struct Judged {
    /// The VTXO.
    pub(in crate::wallet) vtxo: Vtxo<Full>,
    /// The index of its key; `None` if that is not the wallet's.
    pub(in crate::wallet) key_index: Option<u32>,
    /// The on-chain transaction that it hangs from, if that was looked at.
    pub(in crate::wallet) anchor: Option<Transaction>,
    /// What it is worth.
    pub(in crate::wallet) judgement: Judgement,
}

impl Wallet {
    /// Judges VTXOs, and returns the judgements in the same order. Writes nothing.
    ///
    /// A chain backend that does not answer leaves them [`Undecided`](Judgement::Undecided).
    ///
    /// # Errors
    /// Only the database's.
    pub(in crate::wallet) async fn judge(
        &self,
        candidates: Vec<Candidate>,
        server: &PinnedKeys,
    ) -> Result<Vec<Judged>> {
        let owned = self.find_keys(&candidates).await?;
        let mut judged = Vec::with_capacity(candidates.len());
        let mut on_chain = Vec::new();
        for candidate in candidates {
            let key_index = match candidate.key_hint {
                Some(hint) if self.has_key(hint, &candidate.vtxo) => Some(hint),
                _ => owned.get(&candidate.vtxo.user_pubkey()).copied(),
            };
            let early = match key_index {
                None => Some(Judgement::Foreign),
                Some(_) => without_chain(&candidate, server),
            };
            if early.is_none() {
                on_chain.push((judged.len(), candidate.state));
            }
            judged.push(Judged {
                vtxo: candidate.vtxo,
                key_index,
                anchor: None,
                judgement: early.unwrap_or(Judgement::Undecided(String::new())),
            });
        }
        let vtxos = on_chain.iter().map(|(at, _)| judged[*at].vtxo.clone());
        let vtxos: Vec<Vtxo<Full>> = vtxos.collect();
        let known = match self.look_up(&vtxos).await {
            Ok(known) => known,
            Err(error) => {
                for (at, _) in on_chain {
                    judged[at].judgement = Judgement::Undecided(error.to_string());
                }
                return Ok(judged);
            }
        };
        let anchors = Arc::clone(&known.anchors);
        let validated = each_on_all_cores(vtxos, move |vtxo| {
            let (transaction, _) = anchors.get(&vtxo.chain_anchor().txid)?;
            Some(vtxo.validate(transaction))
        });
        let validated = validated.await?.into_iter().zip(known.standings);
        for ((at, state), (valid, standing)) in on_chain.into_iter().zip(validated) {
            let entry = &mut judged[at];
            let anchor = known.anchors.get(&entry.vtxo.chain_anchor().txid);
            let confirmed = anchor.is_some_and(|(_, confirmed)| *confirmed);
            entry.judgement = by_chain(&entry.vtxo, state, valid, confirmed, standing);
            entry.anchor = anchor.map(|(transaction, _)| transaction.clone());
        }
        Ok(judged)
    }

    async fn find_keys(&self, candidates: &[Candidate]) -> Result<HashMap<PublicKey, u32>> {
        let pubkeys: HashSet<PublicKey> =
            candidates.iter().map(|it| it.vtxo.user_pubkey()).collect();
        let (keys, gap) = (self.keys.clone(), self.settings.key_gap);
        self.store
            .read(move |connection| keys::search(connection, &keys, pubkeys, gap))
            .await
    }

    fn has_key(&self, index: u32, vtxo: &Vtxo<Full>) -> bool {
        let key = self.keys.vtxo_key(index);
        key.is_ok_and(|key| key.public_key() == vtxo.user_pubkey())
    }

    /// What the chain knows of VTXOs.
    async fn look_up(&self, vtxos: &[Vtxo<Full>]) -> Result<LookedUp, chain::Error> {
        let mut anchors = HashMap::new();
        let txids: HashSet<Txid> = vtxos.iter().map(|it| it.chain_anchor().txid).collect();
        for txid in txids {
            if let Some(transaction) = self.chain.transaction(txid).await? {
                let confirmed = self.chain.status(txid).await?.is_confirmed();
                anchors.insert(txid, (transaction, confirmed));
            }
        }
        Ok(LookedUp {
            anchors: Arc::new(anchors),
            standings: standings(&self.chain, vtxos).await?,
        })
    }
}

struct LookedUp {
    /// The anchors that the chain knows, and whether they are confirmed.
    anchors: Arc<HashMap<Txid, (Transaction, bool)>>,
    standings: Vec<Standing>,
}

/// The judgement if it does not depend on the chain.
fn without_chain(candidate: &Candidate, server: &PinnedKeys) -> Option<Judgement> {
    let vtxo = &candidate.vtxo;
    // What is spent is stored without its signatures being checked.
    if !has_transactions(vtxo) {
        return Some(Judgement::Invalid(
            "its transactions cannot be built: its amounts overflow, or its anchor has no such output".into(),
        ));
    }
    if vtxo.server_pubkey() != server.server {
        return Some(Judgement::Invalid(
            "it belongs to another Ark server".into(),
        ));
    }
    match candidate.state {
        Some(VtxoSpendState::Spent) => Some(Judgement::Spent),
        Some(VtxoSpendState::Unclaimed) => Some(Judgement::InFlight(
            "the round that issued it is not complete: its inputs are not forfeited".into(),
        )),
        _ if is_htlc_of_receive(vtxo.policy_type()) => Some(Judgement::InFlight(
            "it is an HTLC of a Lightning receive, whose preimage only the database that made the invoice has".into(),
        )),
        _ => None,
    }
}

fn is_htlc_of_receive(policy: VtxoPolicyKind) -> bool {
    matches!(
        policy,
        VtxoPolicyKind::ServerHtlcRecv | VtxoPolicyKind::ServerHtlcRecv_v0
    )
}

/// The judgement of a VTXO whose signatures are `valid`, which says nothing if the chain does not know its anchor.
fn by_chain(
    vtxo: &Vtxo<Full>,
    state: Option<VtxoSpendState>,
    valid: Option<Result<(), VtxoValidationError>>,
    confirmed: bool,
    standing: Standing,
) -> Judgement {
    let Some(valid) = valid else {
        let txid = vtxo.chain_anchor().txid;
        return Judgement::Undecided(format!("its anchor {txid} is not on the chain"));
    };
    if let Err(error) = valid {
        return match state {
            Some(VtxoSpendState::Unregistered) if !vtxo.has_all_witnesses() => Judgement::InFlight(
                "its transactions are not completely signed, and the server waits for them".into(),
            ),
            _ => Judgement::Invalid(error.to_string()),
        };
    }
    match standing {
        Standing::Exited => return Judgement::Exited,
        Standing::Claimed(txid) => {
            return Judgement::Gone(format!(
                "it is on chain, and transaction {txid} has spent it"
            ));
        }
        Standing::DoubleSpent(txid) => {
            return Judgement::Gone(format!(
                "transaction {txid}, which is not of its chain, has spent what it hangs from"
            ));
        }
        Standing::Contested(txid) => {
            return Judgement::Undecided(format!(
                "transaction {txid}, which is not of its chain, is about to spend what it hangs from"
            ));
        }
        Standing::OffChain { .. } => {}
    }
    if !confirmed {
        let txid = vtxo.chain_anchor().txid;
        return Judgement::Undecided(format!("its anchor {txid} is not confirmed"));
    }
    match (state, vtxo.policy_type()) {
        (
            Some(VtxoSpendState::Spendable | VtxoSpendState::Unregistered),
            VtxoPolicyKind::Pubkey,
        ) => Judgement::Spendable,
        (Some(VtxoSpendState::Spendable | VtxoSpendState::Unregistered), policy) => {
            Judgement::Undecided(format!(
                "it is an HTLC ({policy}) of a Lightning payment whose outcome the wallet does not know"
            ))
        }
        (None, _) => Judgement::Undecided("the Ark server does not tell its state".into()),
        (Some(state), _) => Judgement::Undecided(format!(
            "the Ark server tells a state that decides nothing: {}",
            state.as_str_name()
        )),
    }
}

impl Judged {
    /// The id of the VTXO.
    pub(in crate::wallet) fn id(&self) -> VtxoId {
        self.vtxo.id()
    }
}

#[cfg(test)]
mod tests {
    use ark_lib::ProtocolEncoding;
    use ark_lib::test_util::VTXO_VECTORS;

    use super::*;

    /// The VTXO over the largest amount, so that it and the other outputs of its chain do not add up.
    fn overflowing(vtxo: &Vtxo<Full>) -> Vtxo<Full> {
        let mut bytes = vtxo.serialize();
        let amount = vtxo.amount().to_sat().to_le_bytes();
        let place = bytes.windows(8).position(|it| it == amount).unwrap();
        bytes[place..place + 8].fill(0xff);
        Vtxo::deserialize(&bytes).unwrap()
    }

    #[test]
    fn a_vtxo_whose_amounts_overflow_is_invalid_even_if_the_server_says_that_it_is_spent() {
        let valid = &VTXO_VECTORS.arkoor2_vtxo;
        let server = PinnedKeys {
            server: valid.server_pubkey(),
            mailbox: valid.server_pubkey(),
        };
        let judge = |vtxo: &Vtxo<Full>, state| {
            let candidate = Candidate {
                vtxo: vtxo.clone(),
                key_hint: None,
                state: Some(state),
            };
            without_chain(&candidate, &server)
        };
        assert_eq!(judge(valid, VtxoSpendState::Spent), Some(Judgement::Spent));
        for state in [VtxoSpendState::Spent, VtxoSpendState::Spendable] {
            let judged = judge(&overflowing(valid), state);
            assert!(matches!(judged, Some(Judgement::Invalid(_))), "{judged:?}");
        }
    }
}
