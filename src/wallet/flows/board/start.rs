//! The start of a board: on-chain coins selected and held, key taken, movement written, in one transaction.

use std::sync::Arc;

use ark_lib::board::BoardBuilder;
use ark_lib::fees::validate_and_subtract_fee;
use bitcoin::{Amount, OutPoint};
use serde_json::json;
use tokio::sync::watch;

use crate::model::{Fact, Facts, MovementStatus, NewMovement, OperationId, Subsystem};
use crate::onchain::{Funding, FundingAmount};
use crate::store::{key, movement};
use crate::wallet::account::ceiling::{Charge, check_fee};
use crate::wallet::account::fees::{board_fee, check_board_amount};
use crate::wallet::engine::steps::end::signed;
use crate::wallet::engine::{self, Progress, clock};
use crate::wallet::{CommitPoint, Error, PATIENCE, Result, Wallet};

use super::{Board, FundedBoard, PendingBoard};

/// How much to board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoardAmount {
    /// This much, before the board fee.
    Exact(Amount),
    /// The whole on-chain wallet.
    All,
}

/// How often a start is repeated because another operation took the same key index first.
const KEY_RACES: u32 = 5;

impl Wallet {
    /// Starts a board. Returns when its funding transaction is broadcast, or after a while when it continues by itself.
    ///
    /// # Errors
    /// What is wrong with the request, or why the board failed; then nothing was spent. `still_in_progress`: the board goes on by
    /// itself, and the server has not signed yet.
    pub async fn board(self: &Arc<Wallet>, amount: BoardAmount) -> Result<PendingBoard> {
        let mut races = 0;
        let (id, progress) = loop {
            match self.try_start_board(amount).await {
                Ok(started) => break started,
                Err(error) if error.code() == KEY_TAKEN && races < KEY_RACES => races += 1,
                Err(error) => return Err(error),
            }
        };
        engine::answer(progress, PATIENCE).await?;
        self.signed_board(&id).await
    }

    /// The funding script depends on the key, so the key is read first and taken with everything else. When another operation
    /// took it in between, nothing is written, and the caller starts over.
    async fn try_start_board(
        self: &Arc<Wallet>,
        amount: BoardAmount,
    ) -> Result<(OperationId, watch::Receiver<Progress>)> {
        let info = self.awaited_info().await?;
        let tip = self.recent_tip().await?;
        let key_index = self.store.read(key::next_index).await?;
        let user_pubkey = self.keys.vtxo_key(key_index)?.public_key();
        let expiry_height = tip.add_delta(info.vtxo_lifetime);
        let builder = BoardBuilder::new(
            user_pubkey,
            expiry_height,
            info.server_pubkey,
            info.vtxo_exit_delta,
        );
        let script = builder.funding_script_pubkey();

        let wanted = match amount {
            BoardAmount::Exact(amount) => FundingAmount::Exact(amount),
            BoardAmount::All => FundingAmount::All,
        };
        if let BoardAmount::Exact(amount) = amount {
            check_board_amount(&info, amount)?;
        }
        let funding = self
            .onchain
            .prepare_funding(script.clone(), wanted, self.chain.fee_rates().regular)
            .await?;
        let (utxo, gross) = funded_output(&funding, &script)?;
        check_board_amount(&info, gross)?;
        let fee = board_fee(&info, gross)?;
        check_fee(&self.settings.ceilings, Charge::Board, fee, gross)?;
        let net = validate_and_subtract_fee(gross, fee)
            .map_err(|error| Error::bad_request("amount_too_small", error.to_string()))?;
        let builder = builder
            .set_funding_details(gross, fee, utxo)
            .map_err(|error| Error::bad_request("amount_too_small", error.to_string()))?;
        let vtxo = OutPoint::new(builder.exit_tx().compute_txid(), 0).into();

        let id = OperationId::from(format!("board.{}.{}", utxo.txid, utxo.vout));
        let onchain_fee = funding.fee();
        let (info, operation) = (Arc::clone(&info), id.clone());
        let started = self.start(operation, CommitPoint::BoardStarted, move |tx, id| {
            if key::next_index(tx)? != key_index {
                return Err(Error::conflict(
                    KEY_TAKEN,
                    "another operation took the key meanwhile; try again",
                ));
            }
            key::insert(tx, key_index, &user_pubkey)?;
            let movement = NewMovement {
                operation: Some(id),
                status: MovementStatus::Pending,
                subsystem: Subsystem::Board,
                intended_balance: signed(gross)?,
                effective_balance: signed(net)?,
                offchain_fee: fee,
                sent_to: &[],
                received_on: &[],
                input_vtxos: &[],
                output_vtxos: &[vtxo],
                metadata: metadata(utxo, onchain_fee),
            };
            movement::insert(tx, &movement, clock::now_millis())?;
            let psbt = funding.hold(tx, id.as_str())?;
            Ok(Board::Cosign(Box::new(FundedBoard {
                psbt,
                utxo,
                amount: gross,
                fee,
                user_key: key_index,
                user_pubkey,
                server_pubkey: info.server_pubkey,
                expiry_height,
                exit_delta: info.vtxo_exit_delta,
                vtxo,
            })))
        });
        Ok((id, started.await?))
    }
}

/// The internal error code for a key that another operation took first.
const KEY_TAKEN: &str = "key_taken";

/// The one output that pays the board's script.
fn funded_output(funding: &Funding, script: &bitcoin::Script) -> Result<(OutPoint, Amount)> {
    let transaction = &funding.psbt().unsigned_tx;
    let mut paying = (0u32..)
        .zip(&transaction.output)
        .filter(|(_, output)| output.script_pubkey.as_script() == script);
    match (paying.next(), paying.next()) {
        (Some((vout, output)), None) => Ok((
            OutPoint::new(transaction.compute_txid(), vout),
            output.value,
        )),
        _ => Err(Error::internal(anyhow::anyhow!(
            "the funding transaction does not pay the board exactly once"
        ))),
    }
}

fn metadata(utxo: OutPoint, onchain_fee: Amount) -> Facts {
    Facts::from([
        (Fact::ChainAnchor, json!(utxo.to_string())),
        (Fact::OnchainFee, json!(onchain_fee.to_sat())),
    ])
}
