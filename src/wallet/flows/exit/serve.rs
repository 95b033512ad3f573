//! What the wallet does for its exits after each sync of the on-chain wallet: those that wait for coins go on, and those that can be
//! claimed are, if the operator wants it (W20).

use bitcoin::{Amount, FeeRate};

use super::claim::EXIT_CHANGED;
use super::output::{ExitedOutput, claim_weight};
use crate::config::FeeCeiling;
use crate::model::{Attention, ExitProblem, ExitRow};
use crate::store::exit;
use crate::wallet::{Result, Wallet};

/// The code of the fact that a claim would cost more than the operator allows.
const CLAIM_TOO_DEAR: &str = "exit_claim_fee_above_ceiling";

impl Wallet {
    /// Claims the exits that can be claimed if the operator wants it, and wakes those that wait for coins.
    ///
    /// # Errors
    /// `chain_unavailable`; the database's.
    pub async fn serve_exits(&self) -> Result<()> {
        self.settle_leftovers().await?;
        let live = self.store.read(exit::live).await?;
        if live.is_empty() {
            return Ok(());
        }
        if let Some(ceiling) = self.settings.auto_claim {
            self.auto_claim_exits(ceiling).await?;
        }
        // The sync may have found the coins that they wait for.
        for exit in live.iter().filter(|exit| lacks_coins(exit)) {
            self.operations.nudge(&exit.operation);
        }
        Ok(())
    }

    /// Claims all exits that can be claimed to the on-chain wallet, unless the fee is above the ceiling. Then the operator is told, and
    /// it is tried again after the next block.
    async fn auto_claim_exits(&self, ceiling: FeeCeiling) -> Result<()> {
        let rate = self.chain.fee_rates().regular;
        let exits = self.worth_claiming(rate).await?;
        if exits.is_empty() {
            return self.clear(CLAIM_TOO_DEAR, String::new()).await;
        }
        let outputs = self
            .exited_outputs(exits.iter().map(|exit| exit.vtxo).collect())
            .await?;
        let to = self.claim_output(None)?;
        let weight = claim_weight(&outputs, &to);
        let fee = rate
            .fee_vb(weight.to_vbytes_ceil())
            .unwrap_or(Amount::MAX_MONEY);
        let amount: Amount = outputs.iter().map(ExitedOutput::amount).sum();
        let dust = to.script_pubkey.minimal_non_dust();
        if amount.checked_sub(fee).is_none_or(|rest| rest < dust) {
            // More of them may come.
            return Ok(());
        }
        if !ceiling.allows(fee, amount) {
            return self.raise(too_dear(fee, amount, ceiling, rate)).await;
        }
        self.clear(CLAIM_TOO_DEAR, String::new()).await?;
        let script = self.onchain.next_address().await?.script_pubkey();
        match self.claim(exits, script, Some(rate)).await {
            Ok(_) => Ok(()),
            // A request was faster.
            Err(error) if error.code() == EXIT_CHANGED => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn lacks_coins(exit: &ExitRow) -> bool {
    matches!(
        exit.problem,
        Some(ExitProblem::InsufficientConfirmedFunds { .. })
    )
}

fn too_dear(fee: Amount, amount: Amount, ceiling: FeeCeiling, rate: FeeRate) -> Attention {
    Attention {
        code: CLAIM_TOO_DEAR.into(),
        subject: String::new(),
        message: format!(
            "exits worth {amount} can be claimed, but the claim would cost {fee} at {} sat/vB, more than the allowed {} or {} ppm",
            rate.to_sat_per_vb_ceil(),
            ceiling.most,
            ceiling.ppm
        ),
        what_to_do:
            "Wait for lower fees, claim with POST /exits/claim/all, or raise exit_auto_claim_max_fee_sat or exit_auto_claim_max_fee_ppm."
                .to_owned(),
    }
}
