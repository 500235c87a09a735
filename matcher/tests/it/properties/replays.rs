//! The same commands make the same state, from the start, from a snapshot at any point, and read ahead or not.

use matcher::{Engine, Event, Stamped};
use proptest::prelude::*;

use crate::properties::script::{Script, config, play, script, short_script};

/// A script as its journal: every command, its events, and the state after it.
fn journal(script: &Script) -> (Engine, Vec<(Stamped, Vec<Event>, Engine)>) {
    let mut first = None;
    let mut journal = Vec::new();
    play(script, |step| {
        first.get_or_insert_with(|| step.before.clone());
        journal.push((step.stamped.clone(), step.events.to_vec(), step.after.clone()));
    });
    (first.unwrap(), journal)
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn a_replay_equals_the_run_on_every_prefix(script in script()) {
        let (first, journal) = journal(&script);
        let mut replayed = Engine::new(*first.limits());
        for (stamped, expected, after) in &journal {
            let mut events = Vec::new();
            replayed.apply(stamped, &mut events);
            assert_eq!(&events, expected);
            assert_eq!(replayed.state_hash(), after.state_hash());
        }
    }

    #[test]
    fn reading_ahead_changes_nothing(script in script()) {
        let (first, journal) = journal(&script);
        let mut replayed = Engine::new(*first.limits());
        for batch in journal.chunks(48) {
            replayed.anticipate(batch.iter().map(|(stamped, _, _)| stamped));
            for (stamped, expected, _) in batch {
                let mut events = Vec::new();
                replayed.apply(stamped, &mut events);
                assert_eq!(&events, expected);
            }
        }
        let (_, _, last) = journal.last().unwrap();
        assert_eq!(replayed.state_hash(), last.state_hash());
    }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn a_snapshot_and_the_tail_equal_the_whole_from_every_prefix(script in short_script()) {
        let (first, journal) = journal(&script);
        let (_, _, last) = journal.last().unwrap();
        let mut snapshot = first.snapshot();
        for (position, (_, _, after)) in journal.iter().enumerate() {
            let mut restored = Engine::restore(&snapshot).unwrap();
            for (stamped, expected, _) in &journal[position..] {
                let mut events = Vec::new();
                restored.apply(stamped, &mut events);
                assert_eq!(&events, expected, "from a snapshot after {position} commands");
            }
            assert_eq!(restored.state_hash(), last.state_hash());
            snapshot = after.snapshot();
        }
    }
}
