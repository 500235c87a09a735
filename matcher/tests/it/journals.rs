//! Journals of random scripts, for tests that need many commands and no comparison.

use domain::Timestamp;
use matcher::{Engine, Event, Limits, Stamped};

use crate::campaign::{Generator, Random};

/// Every command of one random script, with its events.
pub(crate) fn journal(seed: u64, command_count: usize) -> Vec<(Stamped, Vec<Event>)> {
    let mut random = Random::new(seed);
    let mut engine = Engine::new(limits());
    let mut generator = Generator::new(&mut random);
    let mut now = 1_000_000;
    let mut journal = Vec::new();
    while journal.len() < command_count {
        if !generator.is_setting_up() && random.one_in(2) {
            now += random.below(15_000);
        }
        let stamped = Stamped {
            sequence: engine.sequence().next(),
            at: Timestamp::from_micros(now),
            command: generator.next(&mut random, &engine, now),
        };
        let mut events = Vec::new();
        engine.apply(&stamped, &mut events);
        journal.push((stamped, events));
    }
    journal
}

pub(crate) fn limits() -> Limits {
    Limits {
        classes_per_instrument_max: 3,
        client_id_kept: std::time::Duration::from_millis(60),
        ..Limits::default()
    }
}
