//! A refused command is told and forgotten.

use matcher::{Command, Event, Stamped};
use proptest::prelude::*;

use crate::properties::script::{config, play, script};

proptest! {
    #![proptest_config(config(200))]

    /// It leaves what a tick at the same time would have left, and tells what that would have told, and the refusal.
    #[test]
    fn a_refusal_changes_nothing_but_the_clock(script in script()) {
        play(&script, |step| {
            let Some(Event::Rejected(_)) = step.events.iter().find(|event| matches!(event, Event::Rejected(_)))
            else {
                return;
            };
            let mut ticked = step.before.clone();
            let mut told = Vec::new();
            let tick = Stamped { command: Command::Tick, ..step.stamped.clone() };
            ticked.apply(&tick, &mut told);
            assert_eq!(ticked.state_hash(), step.after.state_hash(), "{:?}", step.stamped.command);
            let rest: Vec<Event> = step
                .events
                .iter()
                .copied()
                .filter(|event| !matches!(event, Event::Rejected(_)))
                .collect();
            assert_eq!(rest, told, "{:?}", step.stamped.command);
        });
    }
}
