//! What billing must hear of a command.

use std::sync::Arc;

use domain::{Credits, Sequence, ShardId, Standing};
use matcher::{Event, LeaseEnded};
use proto::convert::billing::{ReturnReserved, Settlement};

use crate::names::Names;
use crate::sequencer::Applied;

/// One thing that billing must hear, and the command that it comes from.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) sequence: Sequence,
    pub(super) duty: Duty,
}

/// What billing must do.
#[derive(Clone, Debug)]
pub(super) enum Duty {
    Settle(Settlement),
    Return(ReturnReserved),
}

/// Reads events for what moves credits.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) shard: ShardId,
    pub(super) names: Arc<Names>,
}

impl Reader {
    /// What billing must hear of a command, in order.
    pub(super) fn items(&self, applied: &Applied) -> Vec<Item> {
        let duties = applied
            .events
            .iter()
            .filter_map(|event| self.duty(applied.sequence, event));
        let sequence = applied.sequence;
        duties.map(|duty| Item { sequence, duty }).collect()
    }

    fn duty(&self, sequence: Sequence, event: &Event) -> Option<Duty> {
        match event {
            Event::LeaseEnded(ended) if moves_credits(ended) => {
                Some(Duty::Settle(self.settlement(sequence, ended)))
            }
            Event::Defunded {
                transfer,
                account,
                amount,
                available: _,
            } => Some(Duty::Return(ReturnReserved {
                transfer: *transfer,
                account: *account,
                shard: self.shard,
                amount: *amount,
            })),
            Event::LeaseEnded(_)
            | Event::RegionsSet
            | Event::InstrumentListed { .. }
            | Event::SessionOpened { .. }
            | Event::SessionEnded { .. }
            | Event::Funded { .. }
            | Event::IslandJoined { .. }
            | Event::TierSet { .. }
            | Event::BandSet { .. }
            | Event::SlotsSet { .. }
            | Event::BidAccepted(_)
            | Event::AskAccepted(_)
            | Event::Rejected(_)
            | Event::Repeated { .. }
            | Event::JobRecalled(_)
            | Event::Traded(_)
            | Event::OrderEnded(_)
            | Event::Amended { .. }
            | Event::DeadManSet { .. }
            | Event::Checkpointed { .. }
            | Event::AskDepth(_)
            | Event::BidDepth(_)
            | Event::ClassCreated(_)
            | Event::Halted { .. }
            | Event::Resumed { .. }
            | Event::PriceBandSet { .. } => None,
        }
    }

    fn settlement(&self, sequence: Sequence, ended: &LeaseEnded) -> Settlement {
        let model = self.names.model(ended.instrument);
        Settlement {
            sequence,
            lease: ended.lease,
            job: ended.job,
            epoch: ended.epoch,
            consumer: ended.account,
            island_owner: ended.owner,
            island: ended.island,
            model: model.map_or_else(|| ended.instrument.to_string(), str::to_owned),
            price: ended.price,
            bill: ended.bill,
            billed_before_thousandths: ended.billed_before.exact_thousandths(),
            standing: Standing::Established,
            compensation: ended.compensation,
        }
    }
}

fn moves_credits(ended: &LeaseEnded) -> bool {
    let amounts = [
        ended.bill.consumer_pays(),
        ended.bill.pool_subsidy,
        ended.compensation,
    ];
    amounts.iter().any(|amount| *amount != Credits::ZERO)
}
