//! Published depth: whoever follows the deltas has what the orders add up to.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Eligibility, InstrumentId, Price};
use matcher::{AskDepth, BidDepth, CellKey, Engine, Event, OrderDetail};
use proptest::prelude::*;

use crate::properties::script::{config, play, script};

type Asks = BTreeMap<(CellKey, Price), u64>;

/// Bids by what may fill them, in which eligibilities are compared as they print.
type Bids = BTreeMap<(InstrumentId, String, Price), u64>;

/// What a subscriber holds.
#[derive(Default)]
struct Feed {
    asks: Asks,
    bids: BTreeMap<(InstrumentId, u16, Price), u64>,
    classes: BTreeMap<(InstrumentId, u16), Eligibility>,
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn deltas_add_up_to_the_orders_after_every_command(script in script()) {
        let mut feed = Feed::default();
        play(&script, |step| {
            feed.follow(step.events);
            let (asks, bids) = sums(step.after);
            assert_eq!(feed.asks, asks);
            assert_eq!(feed.bids_by_eligibility(), bids);
        });
    }

    #[test]
    fn a_snapshot_of_the_depth_is_what_the_deltas_have_led_to(script in script()) {
        let mut feed = Feed::default();
        play(&script, |step| {
            feed.follow(step.events);
            let mut shown = Feed::default();
            for (instrument, _) in step.after.instruments() {
                let depth = step.after.depth(instrument).unwrap();
                shown.asks.extend(depth.asks.iter().map(|level| ((level.cell, level.price), level.jobs)));
                for level in depth.bids {
                    shown.bids.insert((instrument, level.class, level.price), level.jobs);
                }
                for class in depth.classes {
                    shown.classes.insert((instrument, class.class), class.eligibility);
                }
            }
            assert_eq!(feed.asks, shown.asks);
            assert_eq!(feed.bids, shown.bids);
            assert_eq!(feed.classes, shown.classes);
        });
    }
}

impl Feed {
    /// Sets what the deltas say; a level is told once a command, and only if it changed.
    fn follow(&mut self, events: &[Event]) {
        let (mut asks_told, mut bids_told) = (BTreeSet::new(), BTreeSet::new());
        for event in events {
            match *event {
                Event::ClassCreated(class) => {
                    let key = (class.instrument, class.class);
                    let mut levels = self.bids.keys();
                    let is_idle = !levels.any(|(instrument, number, _)| (*instrument, *number) == key);
                    assert!(is_idle, "a number that changes its meaning starts from nothing");
                    self.classes.insert(key, class.eligibility);
                    // What was told of the class that had the number before is no second telling.
                    bids_told.retain(|(instrument, number, _)| (*instrument, *number) != key);
                }
                Event::AskDepth(AskDepth { cell, price, jobs }) => {
                    assert!(asks_told.insert((cell, price)), "told twice: {event:?}");
                    assert_ne!(set(&mut self.asks, (cell, price), jobs), jobs, "{event:?}");
                }
                Event::BidDepth(BidDepth {
                    instrument,
                    class,
                    price,
                    jobs,
                }) => {
                    let level = (instrument, class, price);
                    assert!(bids_told.insert(level), "told twice: {event:?}");
                    assert_ne!(set(&mut self.bids, level, jobs), jobs, "{event:?}");
                }
                _ => {}
            }
        }
    }

    fn bids_by_eligibility(&self) -> Bids {
        let levels = self.bids.iter();
        levels
            .map(|((instrument, class, price), jobs)| {
                let eligibility = format!("{:?}", self.classes[&(*instrument, *class)]);
                ((*instrument, eligibility, *price), *jobs)
            })
            .collect()
    }
}

/// What the resting orders add up to.
fn sums(engine: &Engine) -> (Asks, Bids) {
    let (mut asks, mut bids) = (Asks::new(), Bids::new());
    for order in engine.orders() {
        match order.detail {
            OrderDetail::Ask(ask) if ask.displayed.is_zero() => {}
            OrderDetail::Ask(ask) => {
                *asks.entry((ask.cell, order.price)).or_default() += u64::from(ask.displayed.get());
            }
            OrderDetail::Bid(bid) => {
                let level = (order.instrument, format!("{:?}", bid.eligibility), order.price);
                *bids.entry(level).or_default() += u64::from(order.leaves.get());
            }
        }
    }
    (asks, bids)
}

/// Sets an absolute quantity, zero removes; returns what was there.
fn set<K: Ord>(levels: &mut BTreeMap<K, u64>, level: K, jobs: u64) -> u64 {
    let before = if jobs == 0 {
        levels.remove(&level)
    } else {
        levels.insert(level, jobs)
    };
    before.unwrap_or_default()
}
