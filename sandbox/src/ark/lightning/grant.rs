//! Grants: VTXOs of the pool are spent to HTLCs of a client. The transactions carry the pool's change, too, from which other clients
//! get their HTLCs later.

use anyhow::ensure;
use ark_lib::arkoor::ArkoorDestination;
use ark_lib::arkoor::package::ArkoorPackageBuilder;
use ark_lib::lightning::Preimage;
use ark_lib::vtxo::{Full, VtxoPolicyKind};
use ark_lib::{SECP, Vtxo, VtxoId, VtxoPolicy};
use bitcoin::secp256k1::{Keypair, rand::thread_rng};
use bitcoin::{Amount, Transaction, Txid};
use bitcoin_ext::P2TR_DUST;

use super::super::faults::{Action, GrantFault, Hook};
use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::{TxKind, VtxoState, pool, tx, vtxo};

impl Ark {
    /// Spends VTXOs of the pool to HTLCs of this policy that are worth `amount` together, and returns them in the order of the
    /// inputs. Fails if the pool holds less.
    pub(super) async fn grant(
        &self,
        policy: VtxoPolicy,
        amount: Amount,
    ) -> Result<Vec<VtxoId>, RpcError> {
        let (policy, amount) = match self.hook(Hook::LnGrant)? {
            Some(Action::AlterGrant { change }) => {
                alter(policy, amount, change, self.tip_height().await?)
            }
            _ => (policy, amount),
        };
        let inputs = choose(self.grantable().await?, amount);
        let inputs = inputs.ok_or_else(|| anyhow::anyhow!("vtxo pool is empty"))?;
        let grant = self.build_grant(inputs, policy, amount)?;
        self.store.write(|db| store_grant(db, &grant))?;
        let htlcs = grant.outputs.iter().filter(|output| is_htlc(output));
        Ok(htlcs.map(Vtxo::id).collect())
    }

    fn build_grant(
        &self,
        inputs: Vec<Vtxo<Full>>,
        policy: VtxoPolicy,
        amount: Amount,
    ) -> anyhow::Result<Grant> {
        let sum: Amount = inputs.iter().map(Vtxo::amount).sum();
        let mut outputs = vec![ArkoorDestination {
            total_amount: amount,
            policy,
        }];
        if sum > amount {
            outputs.push(ArkoorDestination {
                total_amount: sum - amount,
                policy: VtxoPolicy::new_pubkey(self.keys.pool.public_key()),
            });
        }
        let keys = vec![self.keys.pool; inputs.len()];
        let package = ArkoorPackageBuilder::new_without_checkpoints(inputs, outputs)?
            .cosign_both(&keys, &self.keys.server)?;
        Ok(Grant {
            spends: package.input_spend_info().collect(),
            internal: package.build_signed_internal_vtxos(),
            txs: package.signed_virtual_transactions(),
            outputs: package.build_signed_vtxos(),
        })
    }
}

/// A signed grant.
struct Grant {
    spends: Vec<(VtxoId, Txid)>,
    internal: Vec<(ark_lib::ServerVtxo<Full>, Txid)>,
    txs: Vec<Transaction>,
    /// The HTLCs and the pool's change.
    outputs: Vec<Vtxo<Full>>,
}

fn is_htlc(vtxo: &Vtxo<Full>) -> bool {
    vtxo.policy_type() == VtxoPolicyKind::ServerHtlcRecv
}

fn store_grant(db: &rusqlite::Transaction<'_>, grant: &Grant) -> anyhow::Result<()> {
    ensure!(grant.outputs.iter().any(is_htlc), "a grant without HTLCs");
    for signed in &grant.txs {
        tx::insert_signed(db, TxKind::Virtual, signed)?;
    }
    for (id, txid) in &grant.spends {
        pool::remove(db, *id, *txid)?;
    }
    for (internal, txid) in &grant.internal {
        vtxo::insert(db, internal, VtxoState::Internal, Some(*txid))?;
    }
    for output in &grant.outputs {
        if is_htlc(output) {
            vtxo::insert(
                db,
                &output.clone().into(),
                VtxoState::HtlcRecvUnclaimed,
                None,
            )?;
        } else {
            vtxo::insert(db, &output.clone().into(), VtxoState::Internal, None)?;
            pool::insert(db, output)?;
        }
    }
    Ok(())
}

/// The smallest VTXO that is worth enough, else the largest ones together; `None` if all are worth less. They come the largest first.
/// One that leaves no change, or more than dust, is preferred: dust change splits the HTLC.
fn choose(pool: Vec<Vtxo<Full>>, amount: Amount) -> Option<Vec<Vtxo<Full>>> {
    let enough = || pool.iter().rev().filter(|vtxo| vtxo.amount() >= amount);
    let leaves_no_dust = |vtxo: &&Vtxo<Full>| {
        let change = vtxo.amount() - amount;
        change == Amount::ZERO || change >= P2TR_DUST
    };
    if let Some(one) = enough().find(leaves_no_dust).or_else(|| enough().next()) {
        return Some(vec![one.clone()]);
    }
    let mut sum = Amount::ZERO;
    let mut chosen = Vec::new();
    for vtxo in pool {
        sum += vtxo.amount();
        chosen.push(vtxo);
        if sum >= amount {
            return Some(chosen);
        }
    }
    None
}

fn alter(
    policy: VtxoPolicy,
    amount: Amount,
    change: GrantFault,
    tip: bitcoin_ext::BlockHeight,
) -> (VtxoPolicy, Amount) {
    let VtxoPolicy::ServerHtlcRecv(mut htlc) = policy else {
        return (policy, amount);
    };
    let mut altered = amount;
    match change {
        GrantFault::WrongHash => htlc.payment_hash = Preimage::random().compute_payment_hash(),
        GrantFault::WrongKey => {
            htlc.user_pubkey = Keypair::new(&*SECP, &mut thread_rng()).public_key();
        }
        GrantFault::ShortExpiry => htlc.htlc_expiry = tip,
        GrantFault::WrongAmount => altered -= Amount::ONE_SAT,
    }
    (VtxoPolicy::ServerHtlcRecv(htlc), altered)
}
