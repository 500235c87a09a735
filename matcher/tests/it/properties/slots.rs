//! An Island's slots: each is free or held by one lease.

use domain::Slots;
use matcher::{Event, OrderDetail};
use proptest::prelude::*;

use crate::properties::projection::Projection;
use crate::properties::script::{config, play, script};

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn a_slot_is_free_or_held_by_one_lease(script in script()) {
        let mut market = Projection::default();
        play(&script, |step| {
            market.follow(step.stamped, step.events, |market, event| {
                if let Event::Traded(trade) = event {
                    assert!(trade.jobs.get() <= market.islands[&trade.island].free(), "{trade:?}");
                }
            });
            let islands: Vec<_> = step.after.islands().collect();
            assert_eq!(islands.len(), market.islands.len(), "Islands with a live session");
            for island in islands {
                let known = &market.islands[&island.island];
                assert_eq!(island.slots, Slots::new(known.slots));
                assert_eq!(island.free, Slots::new(known.free()), "{island:?}");
            }
            for event in step.events {
                if let Event::SlotsSet { island, free, .. } = event
                    && !step.events.iter().any(|event| matches!(event, Event::Traded(_)))
                {
                    assert_eq!(*free, Slots::new(market.islands[island].free()));
                }
            }
        });
    }

    #[test]
    fn an_ask_displays_what_is_left_of_it_or_the_free_slots_if_fewer(script in script()) {
        play(&script, |step| {
            for order in step.after.orders() {
                if let OrderDetail::Ask(ask) = order.detail {
                    let free = step.after.island(ask.island).unwrap().free.get();
                    assert_eq!(ask.displayed.get(), order.leaves.get().min(free), "{ask:?}");
                }
            }
        });
    }
}
