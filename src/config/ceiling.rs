//! The operator's ceilings for the Ark server's fees (H47). A server may charge what it wants; the wallet pays no more than this.

use bitcoin::{Amount, FeeRate};

use super::ConfigFile;

/// The ceiling of one kind of fee. A fee is accepted if it does not exceed the larger of the two limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeeCeiling {
    /// The absolute limit, for one operation.
    pub most: Amount,
    /// The limit relative to the amount of the operation, in parts per million.
    pub ppm: u32,
}

impl FeeCeiling {
    /// Whether `fee` is acceptable for an operation over `amount`.
    pub fn allows(&self, fee: Amount, amount: Amount) -> bool {
        fee <= self.largest(amount)
    }

    /// The largest fee that is acceptable for an operation over `amount`.
    pub fn largest(&self, amount: Amount) -> Amount {
        let relative = u128::from(amount.to_sat()) * u128::from(self.ppm) / 1_000_000;
        let relative = u64::try_from(relative).unwrap_or(u64::MAX);
        self.most.max(Amount::from_sat(relative))
    }
}

/// The ceilings for everything that the Ark server charges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeeCeilings {
    /// Of a requested refresh. Keys `max_refresh_fee_sat`, default 5,000 sat, and `max_refresh_fee_ppm`, default 20,000.
    pub refresh: FeeCeiling,
    /// Of a refresh that the daemon starts by itself. Keys `max_auto_refresh_fee_sat`, default 2,000 sat, and
    /// `max_auto_refresh_fee_ppm`, default 10,000.
    pub auto_refresh: FeeCeiling,
    /// Of an offboard and of an on-chain payment out of VTXOs. Keys `max_offboard_fee_sat`, default 20,000 sat, and
    /// `max_offboard_fee_ppm`, default 20,000.
    pub offboard: FeeCeiling,
    /// Of a board, without its on-chain transaction. Keys `max_board_fee_sat`, default 5,000 sat, and `max_board_fee_ppm`, default
    /// 10,000.
    pub board: FeeCeiling,
    /// Of a Lightning payment. Keys `max_lightning_send_fee_sat`, default 5,000 sat, and `max_lightning_send_fee_ppm`, default
    /// 20,000.
    pub lightning_send: FeeCeiling,
    /// Of a Lightning payment to the wallet. Keys `max_lightning_receive_fee_sat`, default 2,000 sat, and
    /// `max_lightning_receive_fee_ppm`, default 20,000.
    pub lightning_receive: FeeCeiling,
    /// Of the fee rate that the server quotes for offboards. Key `max_offboard_fee_rate`, in sat/kWU, default 25,000 (100 sat/vB).
    pub offboard_rate: FeeRate,
}

impl FeeCeilings {
    pub(super) fn of(file: &ConfigFile) -> FeeCeilings {
        let ceiling = |sat: Option<u64>, default_sat, ppm: Option<u32>, default_ppm| FeeCeiling {
            most: Amount::from_sat(sat.unwrap_or(default_sat)),
            ppm: ppm.unwrap_or(default_ppm),
        };
        FeeCeilings {
            refresh: ceiling(
                file.max_refresh_fee_sat,
                5_000,
                file.max_refresh_fee_ppm,
                20_000,
            ),
            auto_refresh: ceiling(
                file.max_auto_refresh_fee_sat,
                2_000,
                file.max_auto_refresh_fee_ppm,
                10_000,
            ),
            offboard: ceiling(
                file.max_offboard_fee_sat,
                20_000,
                file.max_offboard_fee_ppm,
                20_000,
            ),
            board: ceiling(
                file.max_board_fee_sat,
                5_000,
                file.max_board_fee_ppm,
                10_000,
            ),
            lightning_send: ceiling(
                file.max_lightning_send_fee_sat,
                5_000,
                file.max_lightning_send_fee_ppm,
                20_000,
            ),
            lightning_receive: ceiling(
                file.max_lightning_receive_fee_sat,
                2_000,
                file.max_lightning_receive_fee_ppm,
                20_000,
            ),
            offboard_rate: FeeRate::from_sat_per_kwu(file.max_offboard_fee_rate.unwrap_or(25_000)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fee_has_to_respect_the_larger_of_the_two_limits() {
        let ceiling = FeeCeiling {
            most: Amount::from_sat(1_000),
            ppm: 10_000,
        };
        let allows = |fee, amount| ceiling.allows(Amount::from_sat(fee), Amount::from_sat(amount));
        assert!(allows(1_000, 2_000));
        assert!(!allows(1_001, 2_000));
        assert!(allows(10_000, 1_000_000));
        assert!(!allows(10_001, 1_000_000));
        assert!(allows(u64::MAX / 100, u64::MAX));
        let nothing = FeeCeiling {
            most: Amount::ZERO,
            ppm: 0,
        };
        assert!(nothing.allows(Amount::ZERO, Amount::ONE_SAT));
        assert!(!nothing.allows(Amount::ONE_SAT, Amount::MAX_MONEY));
    }

    #[test]
    fn every_ceiling_can_be_set() {
        let text = "max_refresh_fee_sat = 1\nmax_refresh_fee_ppm = 2\nmax_auto_refresh_fee_sat = 3\n\
                    max_auto_refresh_fee_ppm = 4\nmax_offboard_fee_sat = 5\nmax_offboard_fee_ppm = 6\n\
                    max_board_fee_sat = 7\nmax_board_fee_ppm = 8\nmax_offboard_fee_rate = 9\n\
                    max_lightning_send_fee_sat = 10\nmax_lightning_send_fee_ppm = 11\n\
                    max_lightning_receive_fee_sat = 12\nmax_lightning_receive_fee_ppm = 13";
        let ceilings = FeeCeilings::of(&text.parse().unwrap());
        let FeeCeilings {
            refresh,
            auto_refresh,
            offboard,
            board,
            lightning_send,
            lightning_receive,
            offboard_rate,
        } = ceilings;
        let parts = [
            refresh,
            auto_refresh,
            offboard,
            board,
            lightning_send,
            lightning_receive,
        ];
        let parts = parts.map(|it| (it.most.to_sat(), it.ppm));
        assert_eq!(parts, [(1, 2), (3, 4), (5, 6), (7, 8), (10, 11), (12, 13)]);
        assert_eq!(offboard_rate.to_sat_per_kwu(), 9);
    }
}
