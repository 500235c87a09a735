//! How long is too long, how often is too often, and why.
//!
//! What the dispatcher holds is bounded from outside: leases by the Islands' slots, tokens by each job's `max_tokens`.

use std::time::Duration;

/// An Island answers an assignment within this: it only has to look whether it can.
pub const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(1);

/// The first token is given at least this long: a short prompt's time is mostly not its own.
pub const FIRST_TOKEN_AT_LEAST: Duration = Duration::from_secs(5);

/// A pause between tokens is allowed at least this long: a garbage collector or another program takes its turn.
pub const STALL_AT_LEAST: Duration = Duration::from_secs(3);

/// A pause of so many tokens' time is a stall on a slow machine.
pub const STALL_TOKENS: u32 = 20;

/// What a job may take beyond twice its expected time.
pub const TOTAL_ALLOWANCE: Duration = Duration::from_secs(10);

/// A session that was not heard of for this long is lost: three heartbeats of a second.
pub const HEARD_WITHIN: Duration = Duration::from_secs(3);

/// A final receipt arrives within this of a cancel, or the lease settles at its last checkpoint: a token's time on
/// the slowest machine and a long round trip.
pub const FINISH_WITHIN: Duration = Duration::from_secs(3);

/// A revoked machine says that it is free within this, or is taken to be: a long prefill cannot be interrupted, and
/// a slot must not be lost to a lost message.
pub const SLOT_FREE_WITHIN: Duration = Duration::from_secs(10);

/// How often a job is bid for again. Three Islands that fail in a row say more about the job than about them.
pub const FAILOVERS_MAX: u8 = 2;

/// A failover's bid waits at least this long for the next Island: the longest that a person waits gladly.
pub const FAILOVER_PATIENCE: Duration = Duration::from_secs(2);
