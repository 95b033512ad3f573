//! Starts exits.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use ark_lib::vtxo::{Full, VtxoPolicyKind};
use ark_lib::{Vtxo, VtxoId};
use bitcoin::Address;

use super::{Exit, note};
use crate::model::{
    Effect, Facts, MovementStatus, NewMovement, OperationId, OperationKind, PaymentMethod,
    Subsystem, Transfer, VtxoRecord, VtxoState,
};
use crate::store::{WriteTx, exit, movement, recovery, vtxo, vtxo_body, wallet as row};
use crate::wallet::coins::list::unknown;
use crate::wallet::engine::steps::end::signed;
use crate::wallet::engine::{clock, enlist, request_key};
use crate::wallet::recovery::unproven;
use crate::wallet::{CommitPoint, Error, Result, Wallet};

/// Why a VTXO is exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wallet) enum ExitCause {
    /// A person asks for it.
    Requested,
    /// Somebody else puts it on chain.
    OnChain,
    /// It expires soon, and nothing else saves it.
    NearExpiry,
    /// Its operation cannot go on without.
    Protocol,
}

/// An exit that has begun.
#[derive(Clone, Debug)]
pub struct StartedExit {
    /// The VTXO.
    pub vtxo: VtxoId,
    /// The operation that exits it.
    pub operation: OperationId,
}

/// A VTXO that is not exited.
#[derive(Clone, Debug)]
pub struct SkippedExit {
    /// The VTXO.
    pub vtxo: VtxoId,
    /// Why it is not, for a person.
    pub reason: String,
}

/// What a request to exit VTXOs has done.
#[derive(Clone, Debug, Default)]
pub struct ExitsBegun {
    /// The exits that have begun.
    pub started: Vec<StartedExit>,
    /// The VTXOs that are not exited.
    pub skipped: Vec<SkippedExit>,
}

impl ExitsBegun {
    fn effect(&self) -> Effect {
        let started = self.started.iter();
        let skipped = self.skipped.iter();
        Effect::Exits {
            started: started
                .map(|exit| (exit.vtxo, exit.operation.clone()))
                .collect(),
            skipped: skipped
                .map(|exit| (exit.vtxo, exit.reason.clone()))
                .collect(),
        }
    }
}

impl Wallet {
    /// Exits every VTXO that is spendable, set aside, or held by a round or a board. Those that cannot be exited are skipped.
    ///
    /// # Errors
    /// The database's.
    pub async fn start_exit_all(self: &Arc<Wallet>) -> Result<ExitsBegun> {
        let live = self.store.live_vtxos();
        let records: Vec<Arc<VtxoRecord>> = live.iter().cloned().collect();
        let stuck = self.stuck_inputs().await?;
        let (mut wanted, mut skipped) = (Vec::new(), Vec::new());
        for record in records {
            let refused = match self.skipped(&record, false, &stuck) {
                Some(reason) => Some(reason),
                None => self.unexitable(record.id).await?,
            };
            match refused {
                None => wanted.push(record.id),
                Some(reason) => {
                    tracing::info!(vtxo = %record.id, %reason, "VTXO is not exited");
                    skipped.push(SkippedExit {
                        vtxo: record.id,
                        reason,
                    });
                }
            }
        }
        self.begin_exits(wanted, ExitCause::Requested, skipped)
            .await
    }

    /// Exits these VTXOs, also those that count as spent on the Ark server's word alone (docs/protocol.md §4.11). Those that are otherwise
    /// spent, exited, exiting, or held by another operation than a round, a board, a Lightning
    /// payment, or a payment that the server does not answer, are skipped.
    ///
    /// # Errors
    /// `unknown_vtxo`; `vtxo_not_exitable` if the network would not relay one of its transactions; the database's.
    pub async fn start_exits(self: &Arc<Wallet>, ids: Vec<VtxoId>) -> Result<ExitsBegun> {
        let ids: BTreeSet<VtxoId> = ids.into_iter().collect();
        let records = self.records(ids.into_iter().collect()).await?;
        let stuck = self.stuck_inputs().await?;
        let unproven = self.store.read(recovery::unproven_spends).await?;
        let unproven: HashSet<VtxoId> = unproven.into_iter().map(|it| it.id).collect();
        let (mut wanted, mut skipped) = (Vec::new(), Vec::new());
        for record in records {
            if !unproven.contains(&record.id)
                && let Some(reason) = self.skipped(&record, true, &stuck)
            {
                let vtxo = record.id;
                skipped.push(SkippedExit { vtxo, reason });
                continue;
            }
            if let Some(reason) = self.unexitable(record.id).await? {
                let message = format!("VTXO {} cannot be exited: {reason}", record.id);
                return Err(Error::bad_request("vtxo_not_exitable", message));
            }
            wanted.push(record.id);
        }
        self.begin_exits(wanted, ExitCause::Requested, skipped)
            .await
    }

    /// Begins the exits of these VTXOs, except those that are spent, claimed, or exiting already: these join the skipped ones.
    ///
    /// # Errors
    /// `unknown_vtxo`; the database's.
    pub(in crate::wallet) async fn begin_exits(
        self: &Arc<Wallet>,
        ids: Vec<VtxoId>,
        cause: ExitCause,
        skipped: Vec<SkippedExit>,
    ) -> Result<ExitsBegun> {
        let started = Vec::new();
        let mut begun = ExitsBegun { started, skipped };
        if ids.is_empty() {
            return Ok(begun);
        }
        let (wallet, tip) = (Arc::clone(self), note::tip(self));
        let key = request_key::current();
        // In a task of its own: after the commit the operations have to be driven even if the caller is gone.
        let task = tokio::spawn(async move {
            let begun = wallet
                .commit(CommitPoint::ExitStarted, move |tx| {
                    for vtxo in ids {
                        if cause == ExitCause::Requested {
                            unproven::take_back(tx, vtxo, tip)?;
                        }
                        match enlist_exit(tx, vtxo, cause)? {
                            Some(operation) => begun.started.push(StartedExit { vtxo, operation }),
                            None => begun.skipped.push(SkippedExit {
                                vtxo,
                                reason: "it is exiting already".to_owned(),
                            }),
                        }
                    }
                    request_key::bind(tx, key.as_ref(), &begun.effect())?;
                    Ok(begun)
                })
                .await?;
            for exit in &begun.started {
                tracing::info!(vtxo = %exit.vtxo, operation = %exit.operation, ?cause, "exit started");
                wallet.take_up(exit.operation.clone()).await?;
            }
            Ok(begun)
        });
        task.await.map_err(Error::internal)?
    }

    /// Why a VTXO is not exited when a person asks for it; `by_name` says that the request names it.
    /// `stuck` are the inputs of payments that the server does not answer.
    fn skipped(
        &self,
        record: &VtxoRecord,
        by_name: bool,
        stuck: &HashSet<VtxoId>,
    ) -> Option<String> {
        let held_by = |what: &str| Some(format!("it is held by {what} that is under way"));
        match &record.state {
            _ if record.claimed => Some("it is exited and claimed already".to_owned()),
            VtxoState::Spent => Some("it is spent".to_owned()),
            VtxoState::Spendable | VtxoState::Exited | VtxoState::Locked(None) => None,
            VtxoState::Locked(Some(_)) if stuck.contains(&record.id) => None,
            VtxoState::Locked(Some(holder)) => match self.operations.kind(holder) {
                Some(OperationKind::Round | OperationKind::Board | OperationKind::Recovery)
                | None => None,
                // An HTLC is exited only when a person names it (H22).
                Some(OperationKind::LightningSend | OperationKind::LightningReceive)
                    if by_name && record.policy != VtxoPolicyKind::Pubkey =>
                {
                    None
                }
                Some(OperationKind::LightningSend | OperationKind::LightningReceive) => {
                    held_by("a Lightning payment")
                }
                Some(OperationKind::Offboard) => held_by("an offboard"),
                Some(OperationKind::ArkoorSend | OperationKind::Exit) => held_by("a payment"),
            },
        }
    }

    /// Why the network would not relay the exit of a VTXO (H21).
    async fn unexitable(&self, id: VtxoId) -> Result<Option<String>> {
        let vtxo = self.full_vtxos(vec![id]).await?.remove(0);
        Ok(vtxo.check_standard().err().map(|error| error.to_string()))
    }
}

/// Begins the exit of a VTXO in the transaction of its caller, who has to [take it up](Wallet::take_up) when that is durable. `None` if
/// the VTXO is spent, claimed, or exiting already.
///
/// # Errors
/// `unknown_vtxo`; the database's.
fn enlist_exit(tx: &WriteTx<'_>, id: VtxoId, cause: ExitCause) -> Result<Option<OperationId>> {
    let record = vtxo::get(tx, id)?.ok_or_else(|| unknown(id))?;
    if record.state == VtxoState::Spent || record.claimed || exit::live_of(tx, id)?.is_some() {
        return Ok(None);
    }
    let operation = OperationId::random();
    let now = clock::now_millis();
    let vtxo = vtxo_body::get(tx, id)?;
    let amount = signed(record.amount)?;
    let written = movement::insert(
        tx,
        &NewMovement {
            operation: Some(&operation),
            status: MovementStatus::Pending,
            subsystem: Subsystem::Exit,
            intended_balance: -amount,
            effective_balance: -amount,
            offchain_fee: bitcoin::Amount::ZERO,
            sent_to: &[Transfer {
                method: output_of(tx, &vtxo)?,
                amount: record.amount,
            }],
            received_on: &[],
            input_vtxos: &[id],
            output_vtxos: &[],
            metadata: Facts::default(),
        },
        now,
    )?;
    movement::add_exited(tx, written, id)?;
    exit::insert(tx, id, &operation, now)?;
    let first = match cause {
        ExitCause::Requested => Exit::Start,
        ExitCause::OnChain | ExitCause::NearExpiry | ExitCause::Protocol => Exit::Publish,
    };
    enlist(tx, &operation, &first)?;
    Ok(Some(operation))
}

/// Where the last transaction of the exit pays to.
fn output_of(tx: &WriteTx<'_>, vtxo: &Vtxo<Full>) -> Result<PaymentMethod> {
    let script = vtxo.output_script_pubkey();
    let network = row::get(tx)?.map(|wallet| wallet.network);
    let address = network.and_then(|network| Address::from_script(&script, network).ok());
    Ok(match address {
        Some(address) => PaymentMethod::Bitcoin(address.to_string()),
        None => PaymentMethod::OutputScript(script.to_hex_string()),
    })
}
