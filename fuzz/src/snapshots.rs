//! The body of a snapshot, with a header that vouches for it.
//!
//! Whoever can write the digest can write anything: what is let in must be a sound engine that saves itself as it was
//! restored and goes on; anything else is refused.

use domain::{Digest, Timestamp};
use matcher::{Command, Engine, Limits, LoseSessions, Stamped};

const MAGIC_AND_VERSION_SIZE: usize = 8 + 4;
const HEADER_SIZE: usize = MAGIC_AND_VERSION_SIZE + 8 + 32;

/// What of a snapshot the target takes as its input.
#[must_use]
pub fn body(snapshot: &[u8]) -> &[u8] {
    snapshot.get(HEADER_SIZE..).unwrap_or_default()
}

/// Restores the body, and goes on with what was restored.
///
/// # Panics
/// When something does not hold.
pub fn snapshots(body: &[u8]) {
    let Ok(mut engine) = Engine::restore(&vouched(body)) else {
        return;
    };
    if let Err(error) = engine.audit() {
        panic!("an engine was let in that is not sound: {error}");
    }
    let again = Engine::restore(&engine.snapshot()).expect("what was let in is let in again");
    assert_eq!(again.state_hash(), engine.state_hash());
    for (command, at) in [
        (Command::Tick, engine.now()),
        (Command::OpenSession, engine.now()),
        (Command::Tick, Timestamp::MAX),
        (Command::LoseSessions(LoseSessions::All), Timestamp::MAX),
    ] {
        let stamped = Stamped {
            sequence: engine.sequence().next(),
            at,
            command,
        };
        engine.apply(&stamped, &mut Vec::new());
        if let Err(error) = engine.audit() {
            panic!("after {stamped:?}: {error}");
        }
    }
    assert_eq!(engine.orders().count() + engine.leases().count(), 0);
}

fn vouched(body: &[u8]) -> Vec<u8> {
    let mut bytes = Engine::new(Limits::default()).snapshot();
    bytes.truncate(MAGIC_AND_VERSION_SIZE);
    let size = u64::try_from(body.len()).expect("an address fits 64 bits");
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(Digest::of(body).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}
