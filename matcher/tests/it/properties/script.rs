//! Scripts of commands of all kinds, and what one step of them shows.

use domain::Timestamp;
use matcher::{Engine, Event, Stamped};
use proptest::prelude::*;

use crate::campaign::{Generator, Random, limits};

/// Steps of one script, set-up not counted.
const STEPS_MAX: usize = 160;

/// What a script is made from. The set-up and each step have numbers of their own, so that a step that is left out
/// changes the others only through what the engine then holds.
#[derive(Clone, Debug)]
pub(super) struct Script {
    set_up: u64,
    steps: Vec<u64>,
}

/// One command, what it did, and the engine around it.
pub(super) struct Step<'a> {
    pub(super) before: &'a Engine,
    pub(super) stamped: &'a Stamped,
    pub(super) events: &'a [Event],
    pub(super) after: &'a Engine,
}

pub(super) fn script() -> impl Strategy<Value = Script> {
    script_of(STEPS_MAX)
}

/// A shorter one, for what is compared on every prefix.
pub(super) fn short_script() -> impl Strategy<Value = Script> {
    script_of(60)
}

fn script_of(steps_max: usize) -> impl Strategy<Value = Script> {
    // A smaller number is no simpler step: only leaving steps out makes a script simpler.
    let steps = prop::collection::vec(any::<u64>().no_shrink(), 1..steps_max);
    (any::<u64>().no_shrink(), steps).prop_map(|(set_up, steps)| Script { set_up, steps })
}

/// Cases of one property, and no file of failures: the script that failed is printed, to become a test by itself.
pub(super) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

/// Plays a script on a new engine and shows each step.
pub(super) fn play(script: &Script, mut look: impl FnMut(&Step<'_>)) {
    let mut random = Random::new(script.set_up);
    let mut engine = Engine::new(limits(&mut random));
    let mut generator = Generator::new(&mut random);
    let mut now = 1_000_000;
    while generator.is_setting_up() {
        play_one(&mut engine, &mut generator, &mut random, now, &mut look);
    }
    for number in &script.steps {
        let mut random = Random::new(*number);
        if random.one_in(2) {
            now += random.below(15_000);
        }
        play_one(&mut engine, &mut generator, &mut random, now, &mut look);
    }
}

fn play_one(
    engine: &mut Engine,
    generator: &mut Generator,
    random: &mut Random,
    now: u64,
    look: &mut impl FnMut(&Step<'_>),
) {
    let before = engine.clone();
    let stamped = Stamped {
        sequence: engine.sequence().next(),
        at: Timestamp::from_micros(now),
        command: generator.next(random, engine, now),
    };
    let mut events = Vec::new();
    engine.apply(&stamped, &mut events);
    look(&Step {
        before: &before,
        stamped: &stamped,
        events: &events,
        after: engine,
    });
}
