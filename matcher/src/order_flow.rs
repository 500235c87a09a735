//! How many orders an account enters, cancels and amends for each of its trades: its order-to-trade ratio, as exchanges
//! have it (the idea of MiFID II's RTS 9, over a minute instead of a day). One who only moves quotes about costs everybody
//! who reads the depth; the bound stops him, and few who trade meet it.

use domain::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Limits;

const MINUTE_MICROS: u64 = 60_000_000;

/// What an account did in the minute in which it last did anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OrderFlow {
    /// Whole minutes since the epoch of [`Timestamp`].
    minute: u64,
    /// Orders that were accepted, cancels and amends.
    messages: u32,
    trades: u32,
}

impl OrderFlow {
    /// Whether one more order may be entered. Cancels and amends always may: they take something back.
    #[inline]
    pub(crate) fn has_room(self, now: Timestamp, limits: &Limits) -> bool {
        // Most accounts stay below what is free, and need no look at the clock.
        if self.messages < limits.free_messages_per_minute {
            return true;
        }
        let OrderFlow { messages, trades, .. } = self.in_minute_of(now);
        let earned = trades.saturating_mul(limits.messages_per_trade);
        messages < limits.free_messages_per_minute.saturating_add(earned)
    }

    /// Counts an accepted order, a cancel or an amend.
    #[inline]
    pub(crate) fn count_message(&mut self, now: Timestamp) {
        *self = self.in_minute_of(now);
        self.messages = self.messages.saturating_add(1);
    }

    /// Counts a trade.
    #[inline]
    pub(crate) fn count_trade(&mut self, now: Timestamp) {
        *self = self.in_minute_of(now);
        self.trades = self.trades.saturating_add(1);
    }

    /// What is counted of it now: nothing when its minute has passed.
    #[inline]
    fn in_minute_of(self, now: Timestamp) -> Self {
        let minute = now.as_micros().div_euclid(MINUTE_MICROS);
        if self.minute == minute {
            return self;
        }
        Self {
            minute,
            ..Self::default()
        }
    }
}
