//! The dispatcher as its shell sees it: scripts of inputs, and what it does about them.
#![expect(clippy::unwrap_used, reason = "a script that does not parse is a broken test")]
#![expect(clippy::disallowed_types, reason = "proptest's macros share their strategies")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a model looks at the effects that concern it"
)]

mod claims;
mod consumers;
mod failover;
mod leases;
mod properties;
mod scenario;
