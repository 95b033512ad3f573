//! The chains that the tests of this folder run on.

use super::*;
use crate::chain::{AutoMine, ChainConfig, FeeRates};
use crate::testing::Bitcoind;

/// Blocks that a chain begins with, so that there are coins.
const BLOCKS: u32 = 110;

/// Makes tests of scenarios that take a chain: one on the simulation, and one on a real node.
macro_rules! on_both_chains {
    ($($scenario:ident)*) => {
        $(
            mod $scenario {
                #[tokio::test]
                async fn on_the_simulation() {
                    super::$scenario(crate::ark::tests::chains::simulated().await).await;
                }

                #[tokio::test]
                #[ignore = "needs a real bitcoind: set ARKWALLETD_BITCOIND and run with --include-ignored"]
                async fn on_a_real_node() {
                    let (_node, chain) = crate::ark::tests::chains::real().await;
                    super::$scenario(chain).await;
                }
            }
        )*
    };
}
pub(super) use on_both_chains;

fn config() -> ChainConfig {
    let rate = |sat_per_vb| FeeRate::from_sat_per_vb_u32(sat_per_vb);
    ChainConfig {
        dir: None,
        coinbase_script: anyone_can_spend().to_p2wsh(),
        min_relay_fee: rate(1),
        auto_mine: AutoMine {
            on: false,
            delay: Duration::ZERO,
        },
        fee_rates: FeeRates {
            fast: rate(3),
            regular: rate(2),
            slow: rate(1),
        },
    }
}

/// A chain in RAM.
pub async fn simulated() -> Chain {
    let chain = Chain::start(config()).unwrap();
    chain.mine(BLOCKS).await.unwrap();
    chain
}

/// The chain of a node, which runs for as long as its handle lives.
pub async fn real() -> (Bitcoind, Chain) {
    let node = Bitcoind::start();
    let chain = Chain::connect(node.config(), config()).await.unwrap();
    chain.mine(BLOCKS).await.unwrap();
    (node, chain)
}
