//! Commands as they would lie in a journal, with any values in them.
//!
//! The input is a list of commands, each after a byte that says how much time has passed. Whatever they say, the engine
//! carries them out or refuses them, and stays sound; a replay, and a snapshot taken half way with the rest of the
//! commands, lead to the same state.

use domain::Timestamp;
use matcher::{Command, Engine, Event, Limits, Stamped};

/// Bounds the time of one input.
const COMMANDS_MAX: usize = 256;

/// Applies the commands that the input holds, as far as it can be read.
///
/// # Panics
/// When something does not hold.
pub fn commands(input: &[u8]) {
    let journal = journal(input);
    let mut engine = Engine::new(limits());
    let mut all = Vec::new();
    let mut snapshot = engine.snapshot();
    for (position, stamped) in journal.iter().enumerate() {
        if position == journal.len().div_euclid(2) {
            snapshot = engine.snapshot();
        }
        let mut events = Vec::new();
        engine.apply(stamped, &mut events);
        if let Err(error) = engine.audit() {
            panic!("after {stamped:?}: {error}");
        }
        all.push(events);
    }
    let half = journal.len().div_euclid(2);
    replay(Engine::new(limits()), &journal, &all, &engine);
    let restored = Engine::restore(&snapshot).expect("a snapshot restores");
    replay(restored, &journal[half..], &all[half..], &engine);
}

/// The snapshot of the engine to which the commands of an input lead.
#[must_use]
pub fn snapshot_after(input: &[u8]) -> Vec<u8> {
    let mut engine = Engine::new(limits());
    for stamped in journal(input) {
        engine.apply(&stamped, &mut Vec::new());
    }
    engine.snapshot()
}

/// The commands of an input, numbered and stamped as a sequencer would.
fn journal(input: &[u8]) -> Vec<Stamped> {
    let mut rest = input;
    let mut now = Timestamp::from_micros(1_000_000);
    let mut journal = Vec::new();
    let mut sequence = domain::Sequence::ZERO;
    while let Some((wait, after)) = rest.split_first()
        && let Ok((command, left)) = postcard::take_from_bytes::<Command>(after)
        && journal.len() < COMMANDS_MAX
    {
        // From nothing to longer than anything lasts, each twice as long as the one before.
        let waited = 1u64.checked_shl(u32::from(*wait)).unwrap_or(0);
        now = Timestamp::from_micros(now.as_micros().saturating_add(waited));
        sequence = sequence.next();
        journal.push(Stamped {
            sequence,
            at: now,
            command,
        });
        rest = left;
    }
    journal
}

fn replay(mut engine: Engine, journal: &[Stamped], expected: &[Vec<Event>], whole: &Engine) {
    engine.anticipate(journal);
    for (stamped, expected) in journal.iter().zip(expected) {
        let mut events = Vec::new();
        engine.apply(stamped, &mut events);
        assert_eq!(&events, expected, "{stamped:?}");
    }
    assert_eq!(
        engine.state_hash(),
        whole.state_hash(),
        "a replay leads elsewhere"
    );
}

/// Low enough that a short input reaches them.
fn limits() -> Limits {
    Limits {
        orders_per_account_max: 12,
        client_ids_per_account_max: 40,
        classes_per_instrument_max: 3,
        free_messages_per_minute: 30,
        messages_per_trade: 5,
        transfers_per_account_max: 4,
        client_id_kept: std::time::Duration::from_millis(60),
        ..Limits::default()
    }
}
