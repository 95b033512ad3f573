//! Boards: cosigning the exit of an output that a client is about to fund, and registering it once it is confirmed (docs/protocol.md §31.2, §32.1).

use ark_lib::Vtxo;
use ark_lib::board::BoardBuilder;
use ark_lib::fees::validate_and_subtract_fee;
use ark_lib::musig::PublicNonce;
use ark_lib::vtxo::Full;
use ark_lib::vtxo::policy::check_block_height;
use bitcoin::secp256k1::PublicKey;
use bitcoin::{Amount, OutPoint, Transaction};
use bitcoin_ext::{BlockHeight, P2TR_DUST};
use server_rpc::{MAX_NB_BOARD_FUNDING_INPUTS, TryFromBytes, protos};

use super::faults::{Action, Hook, corrupt_signature};
use super::state::Ark;
use super::status::RpcError;
use super::store::{TxKind, VtxoState, tx, vtxo};

/// Number of blocks by which a client's chain may be ahead of the server's when it computes the expiry.
const EXPIRY_SLACK: u32 = 3;

impl Ark {
    /// `RequestBoardCosign`. Stores nothing, so a client can repeat it.
    pub(super) async fn request_board_cosign(
        &self,
        request: protos::BoardCosignRequest,
    ) -> Result<protos::BoardCosignResponse, RpcError> {
        let user_pubkey = PublicKey::from_bytes(&request.user_pubkey)?;
        let user_nonce = PublicNonce::from_bytes(&request.pub_nonce)?;
        let utxo = OutPoint::from_bytes(&request.utxo)?;
        let amount = Amount::from_sat(request.amount);
        let fee = self.board_fee(amount)?;
        let expiry = self.board_expiry(request.expiry_height).await?;
        self.check_funding_tx(&request.funding_tx, utxo).await?;

        let builder = BoardBuilder::new_for_cosign(
            user_pubkey,
            expiry,
            self.keys.server.public_key(),
            self.params.vtxo_exit_delta,
            amount,
            fee,
            utxo,
            user_nonce,
        );
        let mut response: protos::BoardCosignResponse =
            builder.server_cosign(&self.keys.server).into();
        if self.hook(Hook::BoardCosign)? == Some(Action::WrongSignature) {
            corrupt_signature(&mut response.partial_sig);
        }
        Ok(response)
    }

    /// `RegisterBoardVtxo`. Safe to repeat.
    pub(super) async fn register_board_vtxo(
        &self,
        request: protos::BoardVtxoRequest,
    ) -> Result<protos::Empty, RpcError> {
        let vtxo = Vtxo::<Full>::from_bytes(&request.board_vtxo)?;
        let _turn = self.turn().await;
        if self.store.vtxo(vtxo.id())?.is_some() {
            return Ok(protos::Empty {});
        }
        let funding_tx = self.confirmed_funding_tx(&vtxo).await?;
        if self.chain.spender(vtxo.chain_anchor()).await?.is_some() {
            return Err(RpcError::bad("the board's funding output is spent"));
        }
        vtxo.validate(&funding_tx).map_err(RpcError::bad)?;
        let board = BoardBuilder::new_from_vtxo(&vtxo, &funding_tx, self.keys.server.public_key())
            .map_err(RpcError::bad)?;

        self.store.write(|db| {
            tx::insert_signed(db, TxKind::BoardFunding, &funding_tx)?;
            for item in vtxo.transactions() {
                tx::insert_signed(db, TxKind::Virtual, &item.tx)?;
            }
            for output in board.build_server_vtxos() {
                // The board's own output on chain is the server's to watch; the client's VTXO hangs below it.
                if output.id() == vtxo.id() {
                    vtxo::insert(db, &output, VtxoState::Spendable, None)?;
                } else {
                    vtxo::insert(db, &output, VtxoState::Internal, Some(board.exit_txid()))?;
                }
            }
            Ok(())
        })?;
        self.hook(Hook::BoardRegister)?;
        Ok(protos::Empty {})
    }

    /// The fee of a board; fails if the server does not accept the amount.
    fn board_fee(&self, amount: Amount) -> Result<Amount, RpcError> {
        let min = self.params.min_board_amount.max(P2TR_DUST);
        if amount < min {
            return Err(RpcError::bad(format!("a board needs at least {min}")));
        }
        if let Some(max) = self.params.max_vtxo_amount
            && amount > max
        {
            return Err(RpcError::bad(format!("a board may have at most {max}")));
        }
        if amount > Amount::MAX_MONEY {
            return Err(RpcError::bad("the amount exceeds 21 million bitcoin"));
        }
        let fee = self
            .params
            .fees
            .board
            .calculate(amount)
            .ok_or_else(|| RpcError::bad("fee overflow"))?;
        validate_and_subtract_fee(amount, fee).map_err(RpcError::bad)?;
        Ok(fee)
    }

    async fn board_expiry(&self, height: u32) -> Result<BlockHeight, RpcError> {
        let expiry = check_block_height(height).map_err(RpcError::bad)?;
        let tip = self.tip_height().await?.to_u32();
        let latest = tip + self.params.vtxo_lifetime.to_u32() + EXPIRY_SLACK;
        if (tip..=latest).contains(&height) {
            Ok(expiry)
        } else {
            Err(RpcError::bad(format!(
                "expiry height must be from {tip} to {latest}"
            )))
        }
    }

    /// Checks that the funding transaction is on-chain: neither it nor its inputs may be virtual.
    async fn check_funding_tx(&self, bytes: &[u8], utxo: OutPoint) -> Result<(), RpcError> {
        let funding_tx = Transaction::from_bytes(bytes)?;
        if funding_tx.input.len() > MAX_NB_BOARD_FUNDING_INPUTS {
            return Err(RpcError::bad("too many inputs in the funding transaction"));
        }
        if funding_tx.compute_txid() != utxo.txid {
            return Err(RpcError::bad(
                "utxo is not of the given funding transaction",
            ));
        }
        if funding_tx.tx_out(utxo.vout as usize).is_err() {
            return Err(RpcError::bad("the funding transaction has no such output"));
        }
        if self.store.is_virtual_tx(utxo.txid)? {
            return Err(RpcError::bad("a virtual transaction cannot fund a board"));
        }
        let lags = self.hook(Hook::BoardFunding)? == Some(Action::NodeLags);
        for input in &funding_tx.input {
            let spent = input.previous_output;
            if self.store.is_vtxo(spent)? {
                return Err(RpcError::bad(format!("funding input {spent} is a vtxo")));
            }
            let parent = self.chain.tx(spent.txid).await?;
            if parent.is_none_or(|parent| lags && parent.block.is_none()) {
                let message = format!("bad user input: unknown input tx {}", spent.txid);
                return Err(RpcError::bad(message));
            }
        }
        Ok(())
    }

    /// The funding transaction of a board if it has enough confirmations; else a refusal, as at a real server, after which the client
    /// has to try again.
    async fn confirmed_funding_tx(&self, vtxo: &Vtxo<Full>) -> Result<Transaction, RpcError> {
        let txid = vtxo.chain_anchor().txid;
        let required = self.params.required_board_confirmations;
        let found = self.chain.tx(txid).await?;
        let tip = self.tip_height().await?.to_u32();
        let confirmations = found
            .as_ref()
            .and_then(|found| found.block)
            .map_or(0, |block| (tip + 1).saturating_sub(block.height));
        match found {
            Some(found) if confirmations >= required => Ok(found.tx),
            _ => Err(RpcError::bad(format!(
                "funding transaction {txid} has {confirmations} of {required} confirmations"
            ))),
        }
    }
}
