//! The same commands make the same state, from the start or from any snapshot.

use matcher::Engine;

use crate::journals::{journal, limits};

#[test]
fn a_replay_has_the_runs_hash_on_every_prefix() {
    for seed in 0..12 {
        let journal = journal(seed, 150);
        let (mut first, mut second) = (Engine::new(limits()), Engine::new(limits()));
        for (stamped, expected) in &journal {
            let mut events = Vec::new();
            first.apply(stamped, &mut Vec::new());
            second.apply(stamped, &mut events);
            assert_eq!(events, *expected, "seed {seed}");
            assert_eq!(first.state_hash(), second.state_hash(), "seed {seed}");
        }
    }
}

#[test]
fn a_snapshot_and_the_tail_are_the_whole_from_every_prefix() {
    for seed in 0..4 {
        let journal = journal(seed, 120);
        let mut whole = Engine::new(limits());
        let mut restored = Vec::new();
        for (stamped, expected) in &journal {
            whole.apply(stamped, &mut Vec::new());
            for engine in &mut restored {
                let mut events = Vec::new();
                Engine::apply(engine, stamped, &mut events);
                assert_eq!(events, *expected, "seed {seed}");
            }
            let snapshot = whole.snapshot();
            let engine = Engine::restore(&snapshot).unwrap();
            assert_eq!(engine.snapshot(), snapshot, "seed {seed}");
            restored.push(engine);
        }
        for engine in restored {
            assert_eq!(engine.state_hash(), whole.state_hash(), "seed {seed}");
        }
    }
}

#[test]
fn a_state_hash_follows_every_command() {
    let mut engine = Engine::new(limits());
    let mut hashes = std::collections::BTreeSet::from([*engine.state_hash().as_bytes()]);
    for (stamped, _) in journal(1, 120) {
        engine.apply(&stamped, &mut Vec::new());
        assert!(hashes.insert(*engine.state_hash().as_bytes()));
    }
}
