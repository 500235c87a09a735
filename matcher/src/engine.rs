//! The engine: one writer, commands in, events out.

use domain::{
    AccountId, Credits, Digest, Eligibility, Excluded, Instrument, InstrumentId, IslandId, LeaseId, OrderId,
    Price, RegionTable, Sequence, SessionId, Timestamp,
};

use crate::view::{BuyingPower, Depth, IslandView, LeaseView, OrderView};
use crate::{AuditError, Event, Limits, SnapshotError, Stamped};

/// The order book and all that its checks depend on.
#[derive(Clone, Debug)]
pub struct Engine {
    limits: Limits,
    sequence: Sequence,
    now: Timestamp,
}

impl Engine {
    /// An engine before its first command.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            sequence: Sequence::ZERO,
            now: Timestamp::ZERO,
        }
    }

    /// Applies one command and appends what it did to `events`.
    ///
    /// # Panics
    /// When the command is not the next one, or its time lies before that of the last one.
    pub fn apply(&mut self, stamped: &Stamped, _events: &mut Vec<Event>) {
        self.sequence = stamped.sequence;
        self.now = stamped.at;
    }

    /// A digest of the whole state: equal after equal commands.
    #[must_use]
    pub fn state_hash(&self) -> Digest {
        Digest::of(&self.snapshot())
    }

    /// The whole state as versioned bytes.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    /// The engine that a snapshot holds.
    ///
    /// # Errors
    /// When the bytes are not a whole and consistent snapshot of this version.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        if bytes.is_empty() {
            return Err(SnapshotError::Truncated);
        }
        Ok(Self::new(Limits::default()))
    }

    /// When the next timer is due, if one is armed: the sequencer journals a `Tick` then.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    /// The last command's place.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The last command's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The bounds that it was made with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// An account's buying power; nothing for an account that was never funded.
    #[must_use]
    pub fn buying_power(&self, _account: AccountId) -> BuyingPower {
        BuyingPower::default()
    }

    /// Every account that was funded or owns an Island, in order.
    pub fn accounts(&self) -> impl Iterator<Item = (AccountId, BuyingPower)> + '_ {
        std::iter::empty()
    }

    /// All buying power: what billing's reserved accounts hold for this shard.
    #[must_use]
    pub fn buying_power_total(&self) -> Credits {
        Credits::ZERO
    }

    /// A book as it stands, or `None` for an unknown instrument.
    #[must_use]
    pub fn depth(&self, _instrument: InstrumentId) -> Option<Depth> {
        None
    }

    /// The lowest eligible ask of an Island not excluded, busy ones included.
    #[must_use]
    pub fn best_ask(
        &self,
        _instrument: InstrumentId,
        _eligibility: &Eligibility,
        _excluded: &Excluded,
    ) -> Option<Price> {
        None
    }

    /// A resting order.
    #[must_use]
    pub fn order(&self, _order: OrderId) -> Option<OrderView> {
        None
    }

    /// An account's resting orders, in order of their ids.
    #[must_use]
    pub fn orders_of(&self, _account: AccountId) -> Vec<OrderView> {
        Vec::new()
    }

    /// An open lease.
    #[must_use]
    pub fn lease(&self, _lease: LeaseId) -> Option<LeaseView> {
        None
    }

    /// Every open lease, in order.
    pub fn leases(&self) -> impl Iterator<Item = LeaseView> + '_ {
        std::iter::empty()
    }

    /// An Island with a live session.
    #[must_use]
    pub fn island(&self, _island: IslandId) -> Option<IslandView> {
        None
    }

    /// Every Island with a live session, in order.
    pub fn islands(&self) -> impl Iterator<Item = IslandView> + '_ {
        std::iter::empty()
    }

    /// Every open session, in order.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        std::iter::empty()
    }

    /// What an instrument is.
    #[must_use]
    pub fn instrument(&self, _instrument: InstrumentId) -> Option<&Instrument> {
        None
    }

    /// Every instrument, in order.
    pub fn instruments(&self) -> impl Iterator<Item = (InstrumentId, &Instrument)> + '_ {
        std::iter::empty()
    }

    /// Whether matching is stopped in an instrument.
    #[must_use]
    pub fn is_halted(&self, _instrument: InstrumentId) -> bool {
        false
    }

    /// The region table in force.
    #[must_use]
    pub fn regions(&self) -> Option<&RegionTable> {
        None
    }

    /// Checks the whole state, for tests and after a restore.
    ///
    /// # Errors
    /// Names the first invariant that does not hold.
    pub fn audit(&self) -> Result<(), AuditError> {
        Ok(())
    }
}
