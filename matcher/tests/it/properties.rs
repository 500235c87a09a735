//! What holds over any journal, read from its events alone, as a projection downstream would.

use std::collections::{BTreeMap, BTreeSet};

use domain::{IslandId, JobId, OrderId, Price};
use matcher::{AskDepth, BidDepth, CellKey, Command, Depth, Engine, Event, LeaseEnd, LoseSessions, Stamped};

use crate::journals::{journal, limits};

const SEEDS: u64 = 60;
const COMMANDS: usize = 160;

#[test]
fn no_trade_is_worse_than_a_limit() {
    for seed in 0..SEEDS {
        let (mut limits, mut prices) = (BTreeMap::new(), BTreeMap::new());
        for event in journal(seed, COMMANDS).into_iter().flat_map(|(_, events)| events) {
            match event {
                Event::BidAccepted(bid) => {
                    limits.insert(bid.order, bid.limit);
                }
                Event::AskAccepted(ask) => {
                    prices.insert(ask.order, ask.price);
                }
                Event::Traded(trade) => {
                    assert!(trade.price <= limits[&trade.bid], "seed {seed}");
                    assert!(trade.price >= prices[&trade.ask], "seed {seed}");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn credits_are_conserved() {
    for seed in 0..SEEDS {
        let mut engine = Engine::new(limits());
        let mut expected = 0;
        for (stamped, events) in journal(seed, COMMANDS) {
            engine.apply(&stamped, &mut Vec::new());
            for event in events {
                expected += match event {
                    Event::Funded { amount, .. } => amount.as_nano(),
                    Event::Defunded { amount, .. } => -amount.as_nano(),
                    Event::LeaseEnded(ended) => -ended.bill.consumer_pays().as_nano(),
                    _ => 0,
                };
            }
            assert_eq!(engine.buying_power_total().as_nano(), expected, "seed {seed}");
        }
    }
}

#[test]
fn every_order_and_every_job_ends_exactly_once() {
    for seed in 0..SEEDS {
        let mut left: BTreeMap<OrderId, u32> = BTreeMap::new();
        let mut jobs: BTreeMap<JobId, bool> = BTreeMap::new();
        for event in ended_journal(seed) {
            follow(&event, &mut left, &mut jobs);
        }
        assert!(left.values().all(|leaves| *leaves == 0), "seed {seed}: {left:?}");
        assert!(jobs.values().all(|ended| *ended), "seed {seed}: {jobs:?}");
    }
}

/// The events of a journal after which all sessions are lost.
fn ended_journal(seed: u64) -> Vec<Event> {
    let mut engine = Engine::new(limits());
    let mut all = Vec::new();
    for (stamped, events) in journal(seed, COMMANDS) {
        engine.apply(&stamped, &mut Vec::new());
        all.extend(events);
    }
    let end = Stamped {
        sequence: engine.sequence().next(),
        at: engine.now(),
        command: Command::LoseSessions(LoseSessions::All),
    };
    engine.apply(&end, &mut all);
    all
}

/// Counts what is left of each order and notes the end of each job.
fn follow(event: &Event, left: &mut BTreeMap<OrderId, u32>, jobs: &mut BTreeMap<JobId, bool>) {
    match event {
        Event::BidAccepted(bid) => {
            left.insert(bid.order, bid.jobs.get());
        }
        Event::AskAccepted(ask) => {
            left.insert(ask.order, ask.jobs.get());
        }
        Event::Amended { order, leaves, .. } => {
            left.insert(*order, leaves.get());
        }
        Event::Traded(trade) => {
            for order in [trade.bid, trade.ask] {
                *left.get_mut(&order).unwrap() -= trade.jobs.get();
            }
            assert_eq!(left[&trade.bid], trade.bid_leaves.get());
            assert_eq!(left[&trade.ask], trade.ask_leaves.get());
            for offset in 0..trade.jobs.get() {
                let job = JobId::of_order(trade.first_job.order(), trade.first_job.index() + offset);
                let before = jobs.insert(job, false);
                assert_eq!(before.is_some(), trade.epoch.get() > 0, "a job begins once");
                assert_ne!(before, Some(true), "an ended job does not go on");
            }
        }
        Event::OrderEnded(ended) => {
            assert!(!ended.leaves.is_zero());
            assert_eq!(left.insert(ended.order, 0), Some(ended.leaves.get()));
            if let Some(job) = ended.resumes {
                assert_eq!(jobs.insert(job, true), Some(false), "a job ends once");
            }
        }
        Event::LeaseEnded(ended) => match ended.end {
            LeaseEnd::Closed(_) | LeaseEnd::Lost => {
                assert_eq!(jobs.insert(ended.job, true), Some(false), "a job ends once");
            }
            LeaseEnd::FailedOver(_) => assert_eq!(jobs.get(&ended.job), Some(&false)),
        },
        _ => {}
    }
}

#[test]
fn an_island_never_has_more_jobs_than_slots_when_it_takes_one() {
    for seed in 0..SEEDS {
        let mut slots: BTreeMap<IslandId, (u32, u32)> = BTreeMap::new();
        for (stamped, events) in journal(seed, COMMANDS) {
            for event in events {
                match (&stamped.command, event) {
                    (Command::JoinIsland(join), Event::IslandJoined { island, .. }) => {
                        slots.insert(island, (join.slots.get(), join.slots.get()));
                    }
                    (
                        _,
                        Event::SlotsSet {
                            island,
                            slots: count,
                            free,
                        },
                    ) => {
                        slots.insert(island, (count.get(), free.get()));
                    }
                    (_, Event::Traded(trade)) => {
                        let (_, free) = slots.get_mut(&trade.island).unwrap();
                        *free = free.checked_sub(trade.jobs.get()).unwrap();
                    }
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn a_feed_that_follows_the_deltas_has_the_book() {
    for seed in 0..SEEDS {
        let mut engine = Engine::new(limits());
        let mut asks: BTreeMap<(CellKey, Price), u64> = BTreeMap::new();
        let mut bids: BTreeMap<(u32, u16, Price), u64> = BTreeMap::new();
        for (stamped, events) in journal(seed, COMMANDS) {
            engine.apply(&stamped, &mut Vec::new());
            let mut seen = BTreeSet::new();
            for event in events {
                match event {
                    Event::ClassCreated(class) => {
                        // A number that changes its meaning starts from an empty ladder.
                        let old = bids.keys().filter(|(instrument, number, _)| {
                            (*instrument, *number) == (class.instrument.get(), class.class)
                        });
                        assert_eq!(old.count(), 0, "seed {seed}");
                        seen.clear();
                    }
                    Event::AskDepth(AskDepth { cell, price, jobs }) => {
                        assert!(
                            seen.insert((format!("{cell:?}"), price)),
                            "seed {seed}: once a command"
                        );
                        assert_ne!(
                            set(&mut asks, (cell, price), jobs),
                            jobs,
                            "seed {seed}: only if changed"
                        );
                    }
                    Event::BidDepth(BidDepth {
                        instrument,
                        class,
                        price,
                        jobs,
                    }) => {
                        assert!(
                            seen.insert((format!("{instrument} {class}"), price)),
                            "seed {seed}: once"
                        );
                        let before = set(&mut bids, (instrument.get(), class, price), jobs);
                        assert_ne!(before, jobs, "seed {seed}: only if changed");
                    }
                    _ => {}
                }
            }
        }
        let mut depth = Depth::default();
        for (instrument, _) in engine.instruments() {
            let one = engine.depth(instrument).unwrap();
            depth.asks.extend(one.asks);
            depth.bids.extend(one.bids);
        }
        let shown: BTreeMap<_, _> = depth
            .asks
            .iter()
            .map(|ask| ((ask.cell, ask.price), ask.jobs))
            .collect();
        assert_eq!(asks, shown, "seed {seed}");
        let shown: BTreeMap<_, _> = depth
            .bids
            .iter()
            .map(|bid| ((bid.instrument.get(), bid.class, bid.price), bid.jobs))
            .collect();
        assert_eq!(bids, shown, "seed {seed}");
    }
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
