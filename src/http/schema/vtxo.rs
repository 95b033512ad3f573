//! VTXOs.

use ark_lib::VtxoId;
use bitcoin::OutPoint;
use bitcoin::secp256k1::PublicKey;
use serde::Serialize;
use utoipa::ToSchema;

use super::aliases::{VtxoAliases, VtxoStateAlias};
use crate::wallet::{VtxoRecord, VtxoState};

/// A VTXO of the wallet.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct WalletVtxoInfo {
    #[serde(flatten)]
    vtxo: VtxoInfo,
    /// Its state.
    state: WalletVtxoState,
    #[serde(flatten)]
    aliases: VtxoAliases,
}

/// The state of a VTXO, with its documentation alias.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct WalletVtxoState {
    #[serde(flatten)]
    state: VtxoStateInfo,
    #[serde(flatten)]
    alias: VtxoStateAlias,
}

/// The properties of a VTXO.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct VtxoInfo {
    /// Its id, `txid:vout`.
    #[schema(value_type = String)]
    id: VtxoId,
    /// Its value, in satoshis.
    amount_sat: u64,
    /// The kind of its spending policy.
    policy_type: String,
    /// The owner's public key.
    #[schema(value_type = String)]
    user_pubkey: PublicKey,
    /// The Ark server's public key.
    #[schema(value_type = String)]
    server_pubkey: PublicKey,
    /// The block height from which on the Ark server may sweep it.
    expiry_height: u32,
    /// Blocks between the confirmation of an exit and its claim.
    exit_delta: u16,
    /// The on-chain output that its exit chain spends, `txid:vout`.
    #[schema(value_type = String)]
    chain_anchor: OutPoint,
    /// The number of transactions that an exit publishes.
    #[schema(required = false)]
    exit_depth: Option<u16>,
}

/// The state of a VTXO.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(in crate::http) enum VtxoStateInfo {
    /// It can be spent.
    Spendable,
    /// It was spent.
    Spent,
    /// It is locked by an operation.
    Locked {
        /// The id of the operation.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        action_id: Option<String>,
    },
    /// It was moved on chain with a unilateral exit.
    Exited,
}

impl From<&VtxoRecord> for WalletVtxoInfo {
    fn from(record: &VtxoRecord) -> Self {
        Self {
            vtxo: VtxoInfo {
                id: record.id,
                amount_sat: record.amount.to_sat(),
                policy_type: record.policy.to_string(),
                user_pubkey: record.user_pubkey,
                server_pubkey: record.server_pubkey,
                expiry_height: record.expiry_height.into(),
                exit_delta: record.exit_delta.into(),
                chain_anchor: record.chain_anchor,
                exit_depth: Some(record.exit_depth),
            },
            state: (&record.state).into(),
            aliases: record.into(),
        }
    }
}

impl From<&VtxoState> for WalletVtxoState {
    fn from(state: &VtxoState) -> Self {
        Self {
            state: state.into(),
            alias: state.into(),
        }
    }
}

impl From<&VtxoState> for VtxoStateInfo {
    fn from(state: &VtxoState) -> Self {
        match state {
            VtxoState::Spendable => Self::Spendable,
            VtxoState::Spent => Self::Spent,
            VtxoState::Exited => Self::Exited,
            VtxoState::Locked(holder) => Self::Locked {
                action_id: holder.as_ref().map(ToString::to_string),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn states_have_their_type_and_no_empty_keys() {
        let shown = |state: VtxoState| serde_json::to_value(VtxoStateInfo::from(&state)).unwrap();
        assert_eq!(shown(VtxoState::Spendable), json!({"type": "spendable"}));
        assert_eq!(shown(VtxoState::Locked(None)), json!({"type": "locked"}));
        let holder = "board.1".to_owned().into();
        assert_eq!(
            shown(VtxoState::Locked(Some(holder))),
            json!({"type": "locked", "action_id": "board.1"})
        );
    }
}
