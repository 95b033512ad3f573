//! Preimages that clients reveal on chain, because they exit HTLCs of a receive instead of claiming them.

use ark_lib::VtxoId;
use ark_lib::lightning::{PaymentHash, Preimage};
use ark_lib::vtxo::policy::clause::HashDelaySignClause;

use super::super::state::Ark;
use super::super::status::RpcError;
use super::super::store::attempt;

impl Ark {
    /// Stores the preimages of confirmed spends of granted HTLCs, also of cancelled receives. A settlement follows as after a claim, if
    /// the receive still waits for one. The mempool is not read.
    pub(super) async fn read_preimages(&self) -> Result<(), RpcError> {
        for receive in self.store.granted_receives()? {
            let hash = receive.hash;
            if self.store.settlement(hash)?.is_some() {
                continue;
            }
            for id in receive.htlcs {
                if let Some(preimage) = self.revealed(id, hash).await? {
                    let now = self.now();
                    self.store
                        .write(|db| attempt::insert_settlement(db, preimage, now))?;
                    break;
                }
            }
        }
        Ok(())
    }

    async fn revealed(&self, id: VtxoId, hash: PaymentHash) -> anyhow::Result<Option<Preimage>> {
        let Some(spender) = self.chain.spender(id.to_point()).await? else {
            return Ok(None);
        };
        let spend = self.chain.tx(spender.txid).await?;
        let confirmed = spend.filter(|_| spender.block.is_some());
        Ok(confirmed.and_then(|spend| {
            let input = spend.tx.input.get(spender.vin as usize)?;
            HashDelaySignClause::extract_preimage_from_witness(&input.witness, hash)
        }))
    }
}
