//! Identifiers, each its own type, and the prefixed text form that people see.
//!
//! Every fact has one id, derived from the fact before it: sequence → trade → lease → receipt → transfer.
//! The text form is a prefix and Crockford base 32 of the number (`ord_1G4`): short, sortable by eye, hard to
//! confuse between kinds. Deliberately absent: random ids, for a replay must give the same ones.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A text that is not an id of the expected kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text does not begin with the kind's prefix.
    #[error("an id of this kind begins with `{expected}_`, this is `{found}`")]
    Prefix {
        /// The prefix this kind of id carries.
        expected: &'static str,
        /// The text that was given, cut to 40 characters.
        found: String,
    },
    /// What follows the prefix is not Crockford base 32 of a number that fits.
    #[error("`{found}` is not a well-formed id")]
    Malformed {
        /// The text that was given, cut to 40 characters.
        found: String,
    },
}

/// An id that people see as `prefix_NUMBER`.
pub trait PrefixedId: Copy {
    /// The prefix, without the underscore.
    const PREFIX: &'static str;
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

fn encode(f: &mut fmt::Formatter<'_>, prefix: &str, number: u128) -> fmt::Result {
    let mut digits = [b'0'; 26];
    let mut rest = number;
    let mut start = digits.len();
    loop {
        start -= 1;
        let digit = usize::try_from(rest & 31).expect("five bits fit a usize");
        digits[start] = ALPHABET[digit];
        rest >>= 5;
        if rest == 0 {
            break;
        }
    }
    let text = std::str::from_utf8(&digits[start..]).expect("the alphabet is ASCII");
    write!(f, "{prefix}_{text}")
}

fn decode(text: &str, prefix: &'static str) -> Result<u128, IdError> {
    let digits = text
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('_'))
        .ok_or_else(|| IdError::Prefix {
            expected: prefix,
            found: shorten(text),
        })?;
    let malformed = || IdError::Malformed { found: shorten(text) };
    if digits.is_empty() || digits.len() > 26 {
        return Err(malformed());
    }
    let mut number: u128 = 0;
    for byte in digits.bytes() {
        let digit = ALPHABET
            .iter()
            .position(|letter| *letter == byte.to_ascii_uppercase())
            .ok_or_else(malformed)?;
        let digit = u128::try_from(digit).expect("an alphabet index is small");
        number = number
            .checked_mul(32)
            .and_then(|n| n.checked_add(digit))
            .ok_or_else(malformed)?;
    }
    Ok(number)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// Wraps the number.
            #[must_use]
            pub const fn new(number: $inner) -> Self {
                Self(number)
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl PrefixedId for $name {
            const PREFIX: &'static str = $prefix;
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                encode(f, $prefix, u128::from(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let number = decode(text, $prefix)?;
                <$inner>::try_from(number)
                    .map(Self)
                    .map_err(|_| IdError::Malformed { found: shorten(text) })
            }
        }
    };
}

id!(
    /// An account: a consumer, an Island owner, or one of the exchange's own.
    AccountId(u64), "acc"
);
id!(
    /// An API key, not its secret.
    KeyId(u64), "key"
);
id!(
    /// A machine that sells inference.
    IslandId(u64), "isl"
);
id!(
    /// A tradable instrument, dense within a shard, given when it is listed.
    InstrumentId(u32), "ins"
);
id!(
    /// A resting or incoming order: the sequence of the command that placed it.
    OrderId(u64), "ord"
);
id!(
    /// One maker meeting one taker, counted by the engine.
    TradeId(u64), "trd"
);
id!(
    /// One job handed to one Island, counted by the engine; a trade of quantity n makes n consecutive leases.
    LeaseId(u64), "lse"
);
id!(
    /// One unit of a bid's quantity from arrival to outcome, over all its leases.
    JobId(u128), "job"
);
id!(
    /// A signed statement of work done under one lease: the lease's number.
    ReceiptId(u64), "rcp"
);
id!(
    /// What may own orders: an agent's stream, a gateway, or a client's order-entry session. The sequence of its `OpenSession`.
    SessionId(u64), "ses"
);
id!(
    /// One ledger transfer, derived from the fact that it records.
    TransferId(u128), "trf"
);
id!(
    /// One engine with its own journal. Single machines run shard 0.
    ShardId(u16), "shd"
);

impl JobId {
    /// The job at `index` (from 0) of the order.
    #[must_use]
    pub fn of_order(order: OrderId, index: u32) -> Self {
        Self((u128::from(order.get()) << 32) | u128::from(index))
    }

    /// The order that carried the job.
    #[must_use]
    pub fn order(self) -> OrderId {
        OrderId(u64::try_from((self.0 >> 32) & u128::from(u64::MAX)).expect("masked to 64 bits"))
    }

    /// The job's index, from 0, in its order.
    #[must_use]
    pub fn index(self) -> u32 {
        u32::try_from(self.0 & u128::from(u32::MAX)).expect("masked to 32 bits")
    }
}

impl ReceiptId {
    /// The receipt of a lease: there is at most one final one.
    #[must_use]
    pub const fn of_lease(lease: LeaseId) -> Self {
        Self(lease.get())
    }
}

impl OrderId {
    /// The order that the command at `sequence` placed.
    #[must_use]
    pub const fn of_sequence(sequence: Sequence) -> Self {
        Self(sequence.get())
    }
}

impl SessionId {
    /// The session that the command at `sequence` opened.
    #[must_use]
    pub const fn of_sequence(sequence: Sequence) -> Self {
        Self(sequence.get())
    }
}

/// A command's place in a shard's journal, from 1. Zero means "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(u64);

impl Sequence {
    /// Before the first command.
    pub const ZERO: Self = Self(0);

    /// Wraps the number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after.
    ///
    /// # Panics
    /// After 2^64 commands, which no shard reaches.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a shard never runs 2^64 commands"))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name a client gave its order, unique per account: the key of idempotence.
///
/// Sixteen bytes, so that the duplicate check costs one comparison. A gateway turns a client's text into it
/// (a UUID as it is, anything else by SHA-256), and echoes the text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientOrderId(u128);

impl ClientOrderId {
    /// Wraps the number.
    #[must_use]
    pub const fn new(number: u128) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0
    }
}

impl fmt::Display for ClientOrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClientOrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        for number in [0, 1, 31, 32, 12_345, u64::MAX] {
            let id = OrderId::new(number);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let text = OrderId::new(7).to_string();
        assert!(matches!(
            text.parse::<TradeId>(),
            Err(IdError::Prefix { expected: "trd", .. })
        ));
    }

    #[test]
    fn malformed_ids_are_refused() {
        for text in [
            "ord_",
            "ord_U",
            "ord_!",
            "ord_ZZZZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "ord_ZZZZZZZZZZZZZZ",
        ] {
            assert!(
                matches!(text.parse::<OrderId>(), Err(IdError::Malformed { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn a_job_knows_its_order_and_index() {
        let job = JobId::of_order(OrderId::new(u64::MAX), u32::MAX);
        assert_eq!((job.order(), job.index()), (OrderId::new(u64::MAX), u32::MAX));
    }
}
