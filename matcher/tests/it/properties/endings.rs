//! Orders and jobs end once.

use std::collections::BTreeMap;

use domain::{JobId, OrderId};
use matcher::{Command, Event, LeaseEnd, LoseSessions, Stamped};
use proptest::prelude::*;

use crate::properties::script::{Script, config, play, script};

#[derive(Debug, Default)]
struct Book {
    left: BTreeMap<OrderId, u32>,
    /// Whether the job has ended.
    jobs: BTreeMap<JobId, bool>,
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn every_order_and_every_job_ends_exactly_once(script in script()) {
        let mut book = Book::default();
        for event in events_until_all_sessions_are_lost(&script) {
            book.follow(&event);
        }
        assert!(book.left.values().all(|leaves| *leaves == 0), "{:?}", book.left);
        assert!(book.jobs.values().all(|ended| *ended), "{:?}", book.jobs);
    }
}

fn events_until_all_sessions_are_lost(script: &Script) -> Vec<Event> {
    let mut all = Vec::new();
    let mut last = None;
    play(script, |step| {
        all.extend_from_slice(step.events);
        last = Some(step.after.clone());
    });
    let mut engine = last.unwrap();
    let end = Stamped {
        sequence: engine.sequence().next(),
        at: engine.now(),
        command: Command::LoseSessions(LoseSessions::All),
    };
    engine.apply(&end, &mut all);
    all
}

impl Book {
    fn follow(&mut self, event: &Event) {
        match event {
            Event::BidAccepted(bid) => {
                assert_eq!(self.left.insert(bid.order, bid.jobs.get()), None);
            }
            Event::AskAccepted(ask) => {
                assert_eq!(self.left.insert(ask.order, ask.jobs.get()), None);
            }
            Event::Amended { order, leaves, .. } => {
                assert_ne!(self.left.insert(*order, leaves.get()), Some(0), "it had ended");
            }
            Event::Traded(trade) => {
                for order in [trade.bid, trade.ask] {
                    let left = self.left.get_mut(&order).unwrap();
                    *left = left.checked_sub(trade.jobs.get()).unwrap();
                }
                for offset in 0..trade.jobs.get() {
                    let job = JobId::of_order(trade.first_job.order(), trade.first_job.index() + offset);
                    let before = self.jobs.insert(job, false);
                    assert_eq!(before.is_some(), trade.epoch.get() > 0, "a job begins once");
                    assert_ne!(before, Some(true), "an ended job does not go on");
                }
            }
            Event::OrderEnded(ended) => {
                assert!(!ended.leaves.is_zero(), "what was traded away has ended already");
                assert_eq!(self.left.insert(ended.order, 0), Some(ended.leaves.get()));
                if let Some(job) = ended.resumes {
                    assert_eq!(self.jobs.insert(job, true), Some(false), "a job ends once");
                }
            }
            Event::LeaseEnded(ended) => match ended.end {
                LeaseEnd::Closed(_) | LeaseEnd::Lost => {
                    assert_eq!(self.jobs.insert(ended.job, true), Some(false), "a job ends once");
                }
                LeaseEnd::FailedOver(_) => assert_eq!(self.jobs.get(&ended.job), Some(&false)),
            },
            _ => {}
        }
    }
}
