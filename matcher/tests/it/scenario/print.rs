//! An event in words.

use std::collections::BTreeMap;

use domain::{JobId, KarmaBand, LeaseId, Liquidity, OrderId, Region, Tier};
use matcher::{CellKey, EndReason, Event, LeaseEnd, LeaseEnded, Rejected, Traded};

use crate::scenario::{REGIONS, World};

impl World {
    pub(super) fn print(&self, event: &Event) -> String {
        match event {
            Event::RegionsSet => "regions set".to_owned(),
            Event::InstrumentListed { instrument } => format!("instrument {} listed", instrument.get()),
            Event::SessionOpened { session } => format!("session {} opened", name(&self.sessions, session)),
            Event::SessionEnded { session } => format!("session {} ended", name(&self.sessions, session)),
            Event::Funded {
                account,
                amount,
                available,
                ..
            } => {
                format!(
                    "{} +{}, has {}",
                    name(&self.accounts, account),
                    amount.as_nano(),
                    available.as_nano()
                )
            }
            Event::Defunded {
                account,
                amount,
                available,
                ..
            } => {
                format!(
                    "{} -{}, has {}",
                    name(&self.accounts, account),
                    amount.as_nano(),
                    available.as_nano()
                )
            }
            Event::IslandJoined { island, .. } => format!("{} joined", name(&self.islands, island)),
            Event::TierSet { island, tier, .. } => {
                format!(
                    "{} is {}",
                    name(&self.islands, island),
                    tier.map_or("out", Tier::name)
                )
            }
            Event::BandSet { island, band } => {
                format!("{} is in band {}", name(&self.islands, island), letter(*band))
            }
            Event::SlotsSet { island, slots, free } => {
                format!(
                    "{} has {} of {} slots free",
                    name(&self.islands, island),
                    free.get(),
                    slots.get()
                )
            }
            Event::BidAccepted(bid) => format!(
                "{} accepted {}@{} reserves {}{}",
                self.order_name(bid.order),
                bid.jobs,
                bid.limit.ticks(),
                bid.reserved.as_nano(),
                self.resumes(bid.resumes),
            ),
            Event::AskAccepted(ask) => format!(
                "{} accepted {}@{} in {}",
                self.order_name(ask.order),
                ask.jobs,
                ask.price.ticks(),
                place(ask.cell)
            ),
            Event::Rejected(rejected) => self.rejected(rejected),
            Event::Repeated { order, unmatched, .. } => {
                let unmatched = unmatched.map_or(String::new(), |unmatched| {
                    format!(", of which {} ended {}", unmatched.jobs, reason(unmatched.reason))
                });
                format!("repeats {}{unmatched}", self.order_name(*order))
            }
            Event::JobRecalled(ended) => format!(
                "{} was {}{}: {} units, charge {} fee {}",
                self.job(ended.job),
                format!("{:?}", ended.end.outcome).to_lowercase(),
                ended
                    .end
                    .cause
                    .map_or(String::new(), |cause| format!(" by {}", cause.code())),
                ended.units,
                ended.charge.as_nano(),
                ended.fee.as_nano(),
            ),
            Event::Traded(trade) => self.traded(trade),
            Event::OrderEnded(ended) => format!(
                "{} ended {} {}{}",
                self.order_name(ended.order),
                ended.leaves,
                reason(ended.reason),
                self.resumes(ended.resumes),
            ),
            Event::Amended { order, leaves, .. } => format!("{} has {leaves} left", self.order_name(*order)),
            Event::DeadManSet { session, deadline } => format!(
                "dead-man of {} {}",
                name(&self.sessions, session),
                if deadline.is_some() { "armed" } else { "off" }
            ),
            Event::LeaseEnded(ended) => self.lease_ended(ended),
            Event::Checkpointed { lease, units } => format!("lease {} signed {units}", lease.get()),
            Event::AskDepth(depth) => {
                format!(
                    "  {} ask {}: {}",
                    place(depth.cell),
                    depth.price.ticks(),
                    depth.jobs
                )
            }
            Event::BidDepth(depth) => {
                format!(
                    "  class {} bid {}: {}",
                    depth.class,
                    depth.price.ticks(),
                    depth.jobs
                )
            }
            Event::ClassCreated(class) => format!("class {} created", class.class),
            Event::Halted { instrument } => format!("{} halted", instrument.get()),
            Event::Resumed { instrument } => format!("{} resumed", instrument.get()),
            Event::PriceBandSet { instrument, band } => match band {
                Some(band) => format!(
                    "{} trades from {} to {}",
                    instrument.get(),
                    band.lowest().ticks(),
                    band.highest().ticks()
                ),
                None => format!("{} has no price band", instrument.get()),
            },
        }
    }

    fn traded(&self, trade: &Traded) -> String {
        let taker = match trade.bid_liquidity {
            Liquidity::Taker => "bid takes",
            Liquidity::Maker => "ask takes",
        };
        let last = LeaseId::new(trade.first_lease.get() + u64::from(trade.jobs.get()) - 1);
        let leases = if trade.jobs.get() == 1 {
            format!("lease {}", last.get())
        } else {
            format!("leases {}-{}", trade.first_lease.get(), last.get())
        };
        format!(
            "{}-{} {}@{} {taker}, left {}-{}, {leases} epoch {} from {}",
            self.order_name(trade.ask),
            self.order_name(trade.bid),
            trade.jobs,
            trade.price.ticks(),
            trade.ask_leaves,
            trade.bid_leaves,
            trade.epoch.get(),
            self.job(trade.first_job),
        )
    }

    fn lease_ended(&self, ended: &LeaseEnded) -> String {
        let how = match ended.end {
            LeaseEnd::Closed(outcome) => format!("{outcome:?}").to_lowercase(),
            LeaseEnd::FailedOver(order) => format!("failed over to {}", self.order_name(order)),
            LeaseEnd::Lost => "lost".to_owned(),
        };
        let bill = ended.bill;
        let mut text = format!(
            "lease {} of {} {how}: pays {} earns {} fee {} released {}",
            ended.lease.get(),
            self.job(ended.job),
            bill.consumer_pays().as_nano(),
            bill.island_earns().as_nano(),
            bill.fee.as_nano(),
            ended.released.as_nano(),
        );
        if bill.pool_subsidy.as_nano() != 0 {
            text.push_str(&format!(" pool {}", bill.pool_subsidy.as_nano()));
        }
        if ended.compensation.as_nano() != 0 {
            text.push_str(&format!(" compensation {}", ended.compensation.as_nano()));
        }
        if ended.billed_before.billed().as_nano() != 0 {
            text.push_str(&format!(" after {}", ended.billed_before.billed().as_nano()));
        }
        text
    }

    fn rejected(&self, rejected: &Rejected) -> String {
        let mut text = format!("refused {}", rejected.reason.code());
        if let Some(alternative) = rejected.alternative {
            text.push_str(&format!(
                ", nearest {}@{}",
                place(alternative.cell),
                alternative.price.ticks()
            ));
        }
        if rejected.shortfall.as_nano() != 0 {
            text.push_str(&format!(", short of {}", rejected.shortfall.as_nano()));
        }
        text
    }

    fn resumes(&self, job: Option<JobId>) -> String {
        job.map_or(String::new(), |job| format!(" resuming {}", self.job(job)))
    }

    fn job(&self, job: JobId) -> String {
        format!("{}#{}", self.order_name(job.order()), job.index())
    }

    fn order_name(&self, order: OrderId) -> String {
        name(&self.orders, &order)
    }
}

fn name<T: PartialEq + std::fmt::Debug>(names: &BTreeMap<String, T>, value: &T) -> String {
    names
        .iter()
        .find(|(_, named)| *named == value)
        .map_or_else(|| format!("{value:?}"), |(name, _)| name.clone())
}

fn place(cell: CellKey) -> String {
    let code = |region: Region| REGIONS[region.index()];
    let instrument = if cell.instrument.get() == 0 { "" } else { "n/" };
    format!(
        "{instrument}{}/{}/{}",
        code(cell.region),
        cell.tier,
        letter(cell.band)
    )
}

fn letter(band: KarmaBand) -> char {
    match band {
        KarmaBand::A => 'A',
        KarmaBand::B => 'B',
        KarmaBand::C => 'C',
        KarmaBand::D => 'D',
    }
}

fn reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Cancelled => "cancelled",
        EndReason::Immediate => "immediate",
        EndReason::Expired => "expired",
        EndReason::SessionLost => "session lost",
        EndReason::DeadMan => "dead man",
        EndReason::SelfTrade => "self-trade",
        EndReason::NotQuotable => "not quotable",
    }
}
