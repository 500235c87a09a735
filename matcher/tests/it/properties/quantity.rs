//! Jobs of an order: each trades, is amended away, ends, or is left.

use std::collections::BTreeMap;

use domain::OrderId;
use matcher::{Event, OrderView};
use proptest::prelude::*;

use crate::properties::script::{config, play, script};

/// Where the jobs of one order went.
#[derive(Debug, Default)]
struct Account {
    ordered: u32,
    traded: u32,
    amended: u32,
    ended: u32,
}

impl Account {
    fn left(&self) -> u32 {
        let gone = self.traded + self.amended + self.ended;
        let left = self.ordered.checked_sub(gone);
        left.unwrap_or_else(|| panic!("more went than was ordered: {self:?}"))
    }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn every_job_trades_or_is_amended_away_or_ends_or_is_left(script in script()) {
        let mut accounts: BTreeMap<OrderId, Account> = BTreeMap::new();
        play(&script, |step| {
            for event in step.events {
                enter(&mut accounts, event);
            }
            for (order, account) in &accounts {
                let view = step.after.order(*order);
                assert_eq!(view.as_ref().map_or(0, |view| view.leaves.get()), account.left(), "{order}");
                if let Some(view) = view {
                    agree(&view, account);
                }
            }
            let resting = accounts.values().filter(|account| account.left() > 0).count();
            assert_eq!(step.after.orders().count(), resting, "an order rests that never was accepted");
        });
    }
}

fn agree(view: &OrderView, account: &Account) {
    assert_eq!(view.jobs.get(), account.ordered, "{view:?}");
    assert_eq!(view.filled.get(), account.traded, "{view:?}");
}

fn enter(accounts: &mut BTreeMap<OrderId, Account>, event: &Event) {
    match event {
        Event::BidAccepted(bid) => {
            accounts.entry(bid.order).or_default().ordered = bid.jobs.get();
        }
        Event::AskAccepted(ask) => {
            accounts.entry(ask.order).or_default().ordered = ask.jobs.get();
        }
        Event::Traded(trade) => {
            for (order, leaves) in [(trade.bid, trade.bid_leaves), (trade.ask, trade.ask_leaves)] {
                let account = accounts.get_mut(&order).unwrap();
                account.traded += trade.jobs.get();
                assert_eq!(account.left(), leaves.get(), "{trade:?}");
            }
        }
        Event::Amended { order, leaves, .. } => {
            let account = accounts.get_mut(order).unwrap();
            account.amended += account.left() - leaves.get();
        }
        Event::OrderEnded(ended) => {
            let account = accounts.get_mut(&ended.order).unwrap();
            account.ended += ended.leaves.get();
            assert_eq!(account.left(), 0, "what ends ends whole: {ended:?}");
        }
        _ => {}
    }
}
