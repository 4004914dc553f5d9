//! Which flavour of the transaction protocol is spoken (T-28 … T-33, R10).
//!
//! The flavour of a transaction is latched at `begin` and stays until its end (D-10). A raised feature level is taken over only at
//! the end of a transaction, together with a new epoch (T-29), or with the first identity; a lowered one at the next begin (T-32).
//! API versions alone never decide it.

/// The flavour of the transaction protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flavour {
    /// `transaction.version` 0 or 1: partitions and offsets are announced, the epoch stays.
    V1,
    /// `transaction.version` 2 (KIP-890): partitions join with their first batch, each transaction ends with a new epoch.
    V2,
}

impl Flavour {
    /// The flavour of a finalised `transaction.version` level.
    pub fn of_level(level: i16) -> Self {
        if level >= 2 { Flavour::V2 } else { Flavour::V1 }
    }
}

/// The finalised features that a broker reported, as far as transactions care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalizedFeatures {
    /// The epoch of the feature map; a later one replaces an earlier one.
    pub epoch: i64,
    /// The finalised level of `transaction.version`; 0 when absent.
    pub transaction_version: i16,
}

/// What the cluster finalised, and what is in use.
#[derive(Debug)]
pub(crate) struct Versions {
    latest: Option<FinalizedFeatures>,
    in_use: Flavour,
}

/// Whether taking over a flavour asks for a fresh epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takeover {
    Plain,
    /// T-29: partitions added under V1 must not be taken for added under V2.
    NeedsFreshEpoch,
}

impl Versions {
    pub(crate) fn new() -> Self {
        Self {
            latest: None,
            in_use: Flavour::V1,
        }
    }

    /// T-33: an equal or lower epoch does not replace what is known; negative epochs mean unknown.
    pub(crate) fn learn(&mut self, features: FinalizedFeatures) {
        let newer = self.latest.is_none_or(|known| features.epoch > known.epoch);
        if newer && features.epoch >= 0 {
            self.latest = Some(features);
        }
    }

    /// T-28 on initialization: the identity is fresh, so any flavour will do.
    pub(crate) fn take_over_with_fresh_identity(&mut self) {
        self.in_use = self.latest();
    }

    /// T-30 b: behind the end of a transaction.
    pub(crate) fn take_over_behind_transaction(&mut self) -> Takeover {
        let before = self.in_use;
        self.in_use = self.latest();
        if before < self.in_use {
            Takeover::NeedsFreshEpoch
        } else {
            Takeover::Plain
        }
    }

    /// The flavour of the transaction that begins now. Lowers at once (T-32), never raises.
    pub(crate) fn latch(&mut self) -> Flavour {
        self.in_use = self.in_use.min(self.latest());
        self.in_use
    }

    pub(crate) fn in_use(&self) -> Flavour {
        self.in_use
    }

    pub(crate) fn latest(&self) -> Flavour {
        self.latest.map_or(Flavour::V1, |features| {
            Flavour::of_level(features.transaction_version)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(epoch: i64, transaction_version: i16) -> FinalizedFeatures {
        FinalizedFeatures {
            epoch,
            transaction_version,
        }
    }

    /// T-33: the highest feature epoch wins, whatever the order of arrival.
    #[test]
    fn an_older_feature_map_does_not_replace_a_newer_one() {
        let mut versions = Versions::new();
        versions.learn(features(5, 2));
        versions.learn(features(5, 0));
        versions.learn(features(4, 1));
        versions.learn(features(-1, 0));
        versions.take_over_with_fresh_identity();
        assert_eq!(versions.latch(), Flavour::V2);
    }

    /// T-29, R10: a raised level waits for the end of a transaction and asks for a fresh epoch.
    #[test]
    fn an_upgrade_is_taken_over_behind_a_transaction_with_a_fresh_epoch() {
        let mut versions = Versions::new();
        versions.learn(features(1, 2));
        assert_eq!(versions.latch(), Flavour::V1);
        assert_eq!(versions.take_over_behind_transaction(), Takeover::NeedsFreshEpoch);
        assert_eq!(versions.latch(), Flavour::V2);
        assert_eq!(versions.take_over_behind_transaction(), Takeover::Plain);
    }

    /// T-32: a lowered level is taken over at the next begin, without a bump.
    #[test]
    fn a_downgrade_is_taken_over_at_the_next_begin() {
        let mut versions = Versions::new();
        versions.learn(features(1, 2));
        versions.take_over_with_fresh_identity();
        versions.learn(features(2, 1));
        assert_eq!(versions.latch(), Flavour::V1);
        assert_eq!(versions.take_over_behind_transaction(), Takeover::Plain);
    }
}
