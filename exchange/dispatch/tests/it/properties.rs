//! Anything may happen in any order: late, twice, wrong or never. What must hold all the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use dispatch::{Claim, Dispatcher, Effect, FinishReason, Grant, Input, JobFacts, Reply, SignedClaim, Speeds};
use domain::{
    CancelCause, InputWeight, IslandId, JobId, JobOutcome, LeaseEpoch, LeaseId, OrderId, SessionId,
    TierFloor, TimeInForce, Timestamp, TokenCount, Units,
};
use proptest::prelude::*;

use crate::scenario::{START, chain_over};

const JOBS: u32 = 3;
const SESSIONS: u64 = 3;
const MAX_TOKENS: u32 = 6;
const FACTS: JobFacts = JobFacts {
    prompt_tokens: TokenCount::new(9),
    max_tokens: TokenCount::new(MAX_TOKENS),
    input_weight: InputWeight::DEFAULT,
    patience: TimeInForce::Ioc,
};

/// One thing that happens; the numbers choose whom it concerns.
#[derive(Clone, Copy, Debug)]
enum Step {
    Engine,
    Refuse,
    Trade(u8, u8),
    Expire(u8),
    Ack(u8),
    Decline(u8),
    Output(u8, u8, u8),
    Sign(u8, u8, Lie),
    Finish(u8, u8, u8, Lie),
    Free(u8),
    Stale(u8, u8),
    Cancel(u8),
    Stop(u8, u8),
    Lose(u8),
    Rejoin,
    Hear(u8),
    Wait(u16),
    EndUnasked(u8),
}

#[derive(Clone, Copy, Debug)]
enum Lie {
    None,
    Chain,
    Signature,
    NoReceipt,
}

fn lie() -> impl Strategy<Value = Lie> {
    prop_oneof![
        8 => Just(Lie::None),
        1 => Just(Lie::Chain),
        1 => Just(Lie::Signature),
        1 => Just(Lie::NoReceipt),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => Just(Step::Engine),
        1 => Just(Step::Refuse),
        8 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Step::Trade(a, b)),
        1 => any::<u8>().prop_map(Step::Expire),
        10 => any::<u8>().prop_map(Step::Ack),
        1 => any::<u8>().prop_map(Step::Decline),
        // Mostly the right index, sometimes a gap or an overlap.
        14 => (any::<u8>(), prop_oneof![9 => Just(1u8), 1 => 0u8..3], 1u8..4)
            .prop_map(|(a, b, c)| Step::Output(a, b, c)),
        5 => (any::<u8>(), any::<u8>(), lie()).prop_map(|(a, b, c)| Step::Sign(a, b, c)),
        5 => (any::<u8>(), any::<u8>(), any::<u8>(), lie())
            .prop_map(|(a, b, c, d)| Step::Finish(a, b, c, d)),
        1 => any::<u8>().prop_map(Step::Free),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Step::Stale(a, b)),
        1 => any::<u8>().prop_map(Step::Cancel),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Step::Stop(a, b)),
        2 => any::<u8>().prop_map(Step::Lose),
        3 => Just(Step::Rejoin),
        4 => any::<u8>().prop_map(Step::Hear),
        3 => (0u16..4_000).prop_map(Step::Wait),
        1 => any::<u8>().prop_map(Step::EndUnasked),
    ]
}

/// What the engine knows of a lease.
#[derive(Clone, Copy, Debug)]
struct Open {
    job: JobId,
    epoch: u8,
    units_max: u64,
}

/// A bid that rests: a job's first, or the rest of it.
#[derive(Clone, Copy, Debug)]
struct Bid {
    job: JobId,
    epoch: u8,
    units_max: u64,
}

/// What an Island remembers of a lease it was assigned.
#[derive(Clone, Debug)]
struct Work {
    from: Reply,
    base: u32,
    sent: Vec<u32>,
}

struct World {
    dispatcher: Dispatcher,
    now: Timestamp,
    next_lease: u64,
    live: BTreeSet<u64>,
    next_session: u64,
    /// What the engine will report, in order.
    reports: VecDeque<Input>,
    bids: Vec<Bid>,
    open: BTreeMap<LeaseId, Open>,
    slots_out: BTreeMap<LeaseId, SessionId>,
    work: Vec<Work>,
    delivered: BTreeMap<JobId, Vec<u32>>,
    billed_units: BTreeMap<JobId, u64>,
    billed_output: BTreeMap<JobId, u64>,
    epochs: BTreeMap<JobId, BTreeSet<u8>>,
    ended: BTreeMap<JobId, JobOutcome>,
    started: BTreeSet<JobId>,
    refuse_next: bool,
}

fn units_of_whole() -> u64 {
    FACTS
        .input_weight
        .units_of_job(FACTS.prompt_tokens, FACTS.max_tokens)
        .get()
}

fn choose<T>(items: &[T], number: u8) -> Option<&T> {
    items.get(usize::from(number).checked_rem(items.len())?)
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            dispatcher: Dispatcher::new(),
            now: START,
            next_lease: 1,
            live: BTreeSet::new(),
            next_session: 0,
            reports: VecDeque::new(),
            bids: (0..JOBS)
                .map(|index| Bid {
                    job: JobId::of_order(OrderId::new(1), index),
                    epoch: 0,
                    units_max: units_of_whole(),
                })
                .collect(),
            open: BTreeMap::new(),
            slots_out: BTreeMap::new(),
            work: Vec::new(),
            delivered: BTreeMap::new(),
            billed_units: BTreeMap::new(),
            billed_output: BTreeMap::new(),
            epochs: BTreeMap::new(),
            ended: BTreeMap::new(),
            started: BTreeSet::new(),
            refuse_next: false,
        };
        for _ in 0..SESSIONS {
            world.join();
        }
        world
    }

    fn join(&mut self) {
        self.next_session += 1;
        self.live.insert(self.next_session);
        self.input(Input::Joined {
            session: SessionId::new(self.next_session),
        });
    }

    fn input(&mut self, input: Input) {
        self.dispatcher.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.dispatcher.next_effect() {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Assign {
                session,
                lease,
                job,
                epoch,
                emitted,
                max_tokens,
                ..
            } => {
                assert!(self.live.contains(&session.get()), "nothing is sent to the dead");
                assert_eq!(emitted, self.delivered.get(&job).cloned().unwrap_or_default());
                assert!(max_tokens.get() + u32::try_from(emitted.len()).unwrap() <= MAX_TOKENS);
                self.epochs.entry(job).or_default().insert(epoch.get());
                self.work.push(Work {
                    from: Reply {
                        session,
                        lease,
                        epoch,
                    },
                    base: u32::try_from(emitted.len()).unwrap(),
                    sent: Vec::new(),
                });
            }
            Effect::Deliver { job, ids } => {
                assert!(
                    !self.ended.contains_key(&job),
                    "nothing is delivered after the end"
                );
                self.delivered.entry(job).or_default().extend(ids);
            }
            Effect::CloseLease { settlement, end } => {
                let Some(open) = self.open.get(&settlement.lease).copied() else {
                    self.reports.push_back(Input::SettlementRefused {
                        lease: settlement.lease,
                    });
                    return;
                };
                // An engine that knows the lease always closes it for nothing.
                if !settlement.is_free() && std::mem::take(&mut self.refuse_next) {
                    self.reports.push_back(Input::SettlementRefused {
                        lease: settlement.lease,
                    });
                    return;
                }
                assert!(
                    settlement.units.get() <= open.units_max,
                    "no lease is over-billed"
                );
                if end.outcome == JobOutcome::Failed {
                    assert_eq!(settlement.units, Units::ZERO, "a failure is free");
                }
                self.bill(open.job, settlement.units, settlement.output_tokens);
                self.open.remove(&settlement.lease);
                self.reports.push_back(Input::LeaseClosed {
                    lease: settlement.lease,
                });
            }
            Effect::FailOver {
                settlement,
                units_max,
                ..
            } => {
                let refused = std::mem::take(&mut self.refuse_next);
                let Some(open) = self.open.get(&settlement.lease).copied().filter(|_| !refused) else {
                    self.reports.push_back(Input::SettlementRefused {
                        lease: settlement.lease,
                    });
                    return;
                };
                assert!(open.epoch < 2, "a job is bid for again twice at most");
                assert!(
                    settlement.units.get() + units_max.get() <= open.units_max,
                    "a failover stays within the reservation"
                );
                assert_eq!(
                    settlement.prompt_tokens,
                    TokenCount::ZERO,
                    "the prompt is the finisher's"
                );
                self.bill(open.job, settlement.units, settlement.output_tokens);
                self.open.remove(&settlement.lease);
                self.bids.push(Bid {
                    job: open.job,
                    epoch: open.epoch + 1,
                    units_max: units_max.get(),
                });
                self.reports.push_back(Input::RebidPlaced {
                    lease: settlement.lease,
                    order: OrderId::new(1_000 + settlement.lease.get()),
                });
            }
            Effect::ReleaseSlot { lease, session } => {
                assert_eq!(
                    self.slots_out.remove(&lease),
                    Some(session),
                    "a slot comes back once"
                );
            }
            Effect::CancelRebid { job, .. } => {
                let of_this = |bid: &Bid| bid.epoch > 0 && bid.job == job;
                if let Some(index) = self.bids.iter().position(of_this) {
                    let bid = self.bids.remove(index);
                    self.reports.push_back(Input::RebidEnded { job: bid.job });
                }
            }
            Effect::JobEnded {
                job,
                outcome,
                output_tokens,
                failovers,
                ..
            } => {
                assert!(failovers <= 2);
                let delivered = self.delivered.get(&job).map_or(0, Vec::len);
                assert!(usize::try_from(output_tokens.get()).unwrap() <= delivered);
                if outcome == JobOutcome::Failed {
                    assert_eq!(delivered, 0, "a failure has delivered nothing");
                }
                assert_eq!(self.ended.insert(job, outcome), None, "a job ends once");
            }
            Effect::EndSession { session } => {
                assert!(self.live.remove(&session.get()));
                self.slots_out.retain(|_, holder| *holder != session);
            }
            Effect::Revoke { session, .. } => {
                assert!(self.live.contains(&session.get()), "nothing is sent to the dead");
            }
            Effect::Checkpoint { .. }
            | Effect::AcceptReceipt { .. }
            | Effect::RefuseReceipt { .. }
            | Effect::Audit { .. }
            | Effect::ReportFailover { .. } => {}
        }
    }

    fn bill(&mut self, job: JobId, units: Units, output: TokenCount) {
        *self.billed_units.entry(job).or_default() += units.get();
        *self.billed_output.entry(job).or_default() += u64::from(output.get());
    }

    fn trade(&mut self, which: u8, island: u8) {
        let live: Vec<u64> = self.live.iter().copied().collect();
        let Some(session) = choose(&live, island).copied() else {
            return;
        };
        if self.bids.is_empty() {
            return;
        }
        let bid = self.bids.remove(usize::from(which) % self.bids.len());
        let lease = LeaseId::new(self.next_lease);
        self.next_lease += 1;
        self.open.insert(
            lease,
            Open {
                job: bid.job,
                epoch: bid.epoch,
                units_max: bid.units_max,
            },
        );
        self.started.insert(bid.job);
        self.slots_out.insert(lease, SessionId::new(session));
        self.reports.push_back(Input::Granted(Grant {
            lease,
            job: bid.job,
            epoch: LeaseEpoch::new(bid.epoch),
            island: IslandId::new(session),
            session: SessionId::new(session),
            units_max: Units::new(bid.units_max),
            speeds: Speeds::in_force(
                TierFloor {
                    decode_per_second: 50,
                    prefill_per_second: 200,
                },
                None,
            ),
            facts: FACTS,
        }));
    }

    fn claim(&self, work: &Work, count: u8, lie: Lie) -> Option<SignedClaim> {
        let count = usize::from(count) % (work.sent.len() + 1);
        let mut ids = work.sent[..count].to_vec();
        match lie {
            Lie::None => {}
            Lie::Chain => ids.push(1),
            Lie::Signature => return Some(SignedClaim::Unsound),
            Lie::NoReceipt => return None,
        }
        Some(SignedClaim::Sound(Claim {
            output_tokens: TokenCount::new(u32::try_from(count).unwrap()),
            chain: chain_over(work.from.lease, work.from.epoch, &ids),
        }))
    }

    fn expire(&mut self, which: u8) {
        let again: Vec<usize> = (0..self.bids.len())
            .filter(|index| self.bids[*index].epoch > 0)
            .collect();
        if let Some(index) = choose(&again, which) {
            let bid = self.bids.remove(*index);
            self.reports.push_back(Input::RebidEnded { job: bid.job });
        }
    }

    fn step(&mut self, step: Step) {
        let work = |world: &Self, number: u8| choose(&world.work, number).cloned();
        match step {
            Step::Engine => {
                if let Some(report) = self.reports.pop_front() {
                    self.input(report);
                }
            }
            Step::Refuse => self.refuse_next = true,
            Step::Trade(which, island) => self.trade(which, island),
            Step::Expire(which) => self.expire(which),
            Step::Ack(number) => {
                if let Some(work) = work(self, number) {
                    self.input(Input::Acknowledged(work.from));
                }
            }
            Step::Decline(number) => {
                if let Some(work) = work(self, number) {
                    self.input(Input::Declined(work.from));
                }
            }
            Step::Output(number, shift, count) => {
                let Some(index) = usize::from(number).checked_rem(self.work.len()) else {
                    return;
                };
                let work = &mut self.work[index];
                let at = (u32::try_from(work.sent.len()).unwrap() + u32::from(shift)).saturating_sub(1);
                // An id is its position in the job, so a gap or an overlap would show.
                let ids: Vec<u32> = (0..u32::from(count))
                    .map(|offset| work.base + at + offset)
                    .collect();
                work.sent.truncate(usize::try_from(at).unwrap());
                work.sent.extend(&ids);
                let from = work.from;
                self.input(Input::Output {
                    from,
                    first_index: at,
                    ids,
                });
            }
            Step::Sign(number, count, lie) => {
                if let Some(work) = work(self, number)
                    && let Some(claim) = self.claim(&work, count, lie)
                {
                    self.input(Input::Checkpoint {
                        from: work.from,
                        claim,
                    });
                }
            }
            Step::Finish(number, reason, count, lie) => {
                if let Some(work) = work(self, number) {
                    let reasons = [
                        FinishReason::Stop,
                        FinishReason::Length,
                        FinishReason::Cancelled,
                        FinishReason::Error,
                    ];
                    let claim = self.claim(&work, count, lie);
                    self.input(Input::Finished {
                        from: work.from,
                        reason: *choose(&reasons, reason).unwrap(),
                        claim,
                    });
                }
            }
            Step::Free(number) => {
                if let Some(work) = work(self, number) {
                    self.input(Input::SlotFree {
                        session: work.from.session,
                        lease: work.from.lease,
                    });
                }
            }
            Step::Stale(number, kind) => {
                let Some(work) = work(self, number) else { return };
                let mut from = work.from;
                if kind % 2 == 0 {
                    from.epoch = from.epoch.next();
                } else {
                    from.session = SessionId::new(from.session.get() + 1);
                }
                let before = self.dispatcher.clone();
                self.dispatcher.handle(
                    Input::Output {
                        from,
                        first_index: 0,
                        ids: vec![9_999],
                    },
                    self.now,
                );
                self.dispatcher.handle(Input::Declined(from), self.now);
                assert_eq!(format!("{before:?}"), format!("{:?}", self.dispatcher));
            }
            Step::Cancel(which) => self.input(Input::Cancel {
                job: JobId::of_order(OrderId::new(1), u32::from(which) % JOBS),
                cause: CancelCause::Asked,
            }),
            Step::Stop(which, count) => self.input(Input::Stop {
                job: JobId::of_order(OrderId::new(1), u32::from(which) % JOBS),
                output_tokens: TokenCount::new(u32::from(count) % (MAX_TOKENS + 2)),
            }),
            Step::Lose(which) => {
                let live: Vec<u64> = self.live.iter().copied().collect();
                if let Some(session) = choose(&live, which).copied() {
                    self.live.remove(&session);
                    let session = SessionId::new(session);
                    self.slots_out.retain(|_, holder| *holder != session);
                    self.input(Input::SessionLost { session });
                }
            }
            Step::Rejoin => self.join(),
            Step::Hear(which) => {
                let live: Vec<u64> = self.live.iter().copied().collect();
                if let Some(session) = choose(&live, which).copied() {
                    self.input(Input::Heard {
                        session: SessionId::new(session),
                    });
                }
            }
            Step::Wait(millis) => self.wait(Duration::from_millis(millis.into())),
            Step::EndUnasked(number) => {
                let open: Vec<LeaseId> = self.open.keys().copied().collect();
                if let Some(lease) = choose(&open, number).copied() {
                    self.open.remove(&lease);
                    self.reports.push_back(Input::LeaseClosed { lease });
                }
            }
        }
    }

    fn wait(&mut self, span: Duration) {
        let until = self.now.after(span);
        while let Some(at) = self.dispatcher.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.dispatcher.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    /// Lets the engine report all that it has to, time pass, and nobody take the rest.
    fn settle(&mut self) {
        for _ in 0..8 {
            while let Some(report) = self.reports.pop_front() {
                self.input(report);
            }
            while self.bids.iter().any(|bid| bid.epoch > 0) {
                self.expire(0);
            }
            self.wait(Duration::from_secs(60));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn every_job_ends_once_in_order_and_within_its_reservation(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();

        for (job, delivered) in &world.delivered {
            let in_order: Vec<u32> = (0..u32::try_from(delivered.len()).unwrap()).collect();
            prop_assert_eq!(delivered, &in_order, "{} has no gap and no repetition", job);
            prop_assert!(delivered.len() <= usize::try_from(MAX_TOKENS).unwrap());
        }
        for (job, units) in &world.billed_units {
            prop_assert!(*units <= units_of_whole());
            let delivered = world.delivered.get(job).map_or(0, Vec::len);
            prop_assert!(world.billed_output[job] <= u64::try_from(delivered).unwrap());
        }
        for epochs in world.epochs.values() {
            prop_assert!(epochs.len() <= 3);
        }
        let ended: BTreeSet<JobId> = world.ended.keys().copied().collect();
        prop_assert_eq!(&ended, &world.started, "what was granted has ended, and nothing else");
        prop_assert!(world.open.is_empty(), "no lease is left open in the engine");
        prop_assert!(world.slots_out.is_empty(), "no slot is left out");
        prop_assert_eq!((world.dispatcher.job_count(), world.dispatcher.lease_count()), (0, 0));
        prop_assert_eq!(world.dispatcher.poll_timeout(), None);
    }
}
