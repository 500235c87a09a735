//! A script of inputs, separated by `;`, and the effects, one a line with the milliseconds since the start.
//!
//! Islands are letters: `join A`, `hear A`, `lose A`. Leases are numbered: `1 to A` grants lease 1 of the one job
//! (epochs count up by themselves; `1 to A for 4` for at most four units), `1 ack`, `1 decline`, `1 out 0: 7 8` (first index, ids), `1 sign 2` (a checkpoint
//! over two tokens), `1 done stop 2` (a final receipt over two). A claim may be `2!` (wrong chain), `2?` (bad
//! signature) or `-` (no receipt). `@9 1 ack` names another epoch, `B: 1 ack` another session. The consumer says
//! `cancel`, `leave` or `stop 3`; the engine `closed 1`, `rebid 1`, `expired` or `refused 1`. `wait 500` lets
//! milliseconds pass, firing every timer on its moment.

use std::fmt::Write as _;

use dispatch::{Claim, Dispatcher, Effect, FinishReason, Grant, Input, JobFacts, Reply, SignedClaim, Speeds};
use domain::{
    CancelCause, ChainHead, InputWeight, IslandId, JobId, LeaseEpoch, LeaseId, OrderId, SessionId, TierFloor,
    TimeInForce, Timestamp, TokenCount, Units,
};
use expect_test::Expect;

/// What the job is in a script that does not say otherwise: 8 prompt tokens (2 units), at most 4 to emit.
pub(crate) const FACTS: JobFacts = JobFacts {
    prompt_tokens: TokenCount::new(8),
    max_tokens: TokenCount::new(4),
    input_weight: InputWeight::DEFAULT,
    patience: TimeInForce::Ioc,
};

pub(crate) const START: Timestamp = Timestamp::from_micros(1_000_000_000);

pub(crate) struct Scenario {
    dispatcher: Dispatcher,
    facts: JobFacts,
    speeds: TierFloor,
    now: Timestamp,
    leases: Vec<(u64, char, u8)>,
    /// What each lease sent, as the Island knows it.
    sent: Vec<(u64, Vec<u32>)>,
    log: String,
}

pub(crate) fn check(script: &str, expected: Expect) {
    check_job(FACTS, script, expected);
}

pub(crate) fn check_job(facts: JobFacts, script: &str, expected: Expect) {
    expected.assert_eq(&run(facts, script));
}

pub(crate) fn run(facts: JobFacts, script: &str) -> String {
    let mut scenario = Scenario {
        dispatcher: Dispatcher::new(),
        facts,
        speeds: TierFloor {
            decode_per_second: 100,
            prefill_per_second: 1_000,
        },
        now: START,
        leases: Vec::new(),
        sent: Vec::new(),
        log: String::new(),
    };
    for step in script.split(';').map(str::trim).filter(|step| !step.is_empty()) {
        scenario.step(step);
    }
    scenario.log
}

fn session_of(island: char) -> SessionId {
    SessionId::new(u64::from(u32::from(island)))
}

fn letter(session: SessionId) -> char {
    char::from(u8::try_from(session.get()).unwrap())
}

pub(crate) fn job() -> JobId {
    JobId::of_order(OrderId::new(1), 0)
}

pub(crate) fn chain_over(lease: LeaseId, epoch: LeaseEpoch, ids: &[u32]) -> ChainHead {
    ids.iter()
        .fold(ChainHead::start(lease, epoch), |head, id| head.extend(*id))
}

impl Scenario {
    fn step(&mut self, step: &str) {
        let words: Vec<&str> = step.split_whitespace().collect();
        match words.as_slice() {
            ["wait", millis] => self.wait(millis.parse().unwrap()),
            ["join", island] => {
                let island = island.chars().next().unwrap();
                self.input(Input::Joined {
                    session: session_of(island),
                });
            }
            ["hear", island] => self.input(Input::Heard {
                session: session_of(island.chars().next().unwrap()),
            }),
            ["lose", island] => self.input(Input::SessionLost {
                session: session_of(island.chars().next().unwrap()),
            }),
            ["cancel"] => self.cancel(CancelCause::Asked),
            ["leave"] => self.cancel(CancelCause::Departed),
            ["unread"] => self.cancel(CancelCause::NotReading),
            ["stop", count] => self.input(Input::Stop {
                job: job(),
                output_tokens: TokenCount::new(count.parse().unwrap()),
            }),
            ["closed", lease] => self.input(Input::LeaseClosed {
                lease: LeaseId::new(lease.parse().unwrap()),
            }),
            ["refused", lease] => self.input(Input::SettlementRefused {
                lease: LeaseId::new(lease.parse().unwrap()),
            }),
            ["rebid", lease] => self.input(Input::RebidPlaced {
                lease: LeaseId::new(lease.parse().unwrap()),
                order: OrderId::new(90),
            }),
            ["expired"] => self.input(Input::RebidEnded { job: job() }),
            [lease, "to", island] => {
                let units = self
                    .facts
                    .input_weight
                    .units_of_job(self.facts.prompt_tokens, self.facts.max_tokens);
                self.grant(lease.parse().unwrap(), island.chars().next().unwrap(), units);
            }
            [lease, "to", island, "for", units] => {
                let units = Units::new(units.parse().unwrap());
                self.grant(lease.parse().unwrap(), island.chars().next().unwrap(), units);
            }
            words => self.reply(words),
        }
    }

    fn cancel(&mut self, cause: CancelCause) {
        self.input(Input::Cancel { job: job(), cause });
    }

    fn grant(&mut self, lease: u64, island: char, units_max: Units) {
        if !self.leases.iter().any(|(known, _, _)| *known == lease) {
            let epoch = u8::try_from(self.leases.len()).unwrap();
            self.leases.push((lease, island, epoch));
            self.sent.push((lease, Vec::new()));
        }
        let (_, _, epoch) = *self.leases.iter().find(|(known, _, _)| *known == lease).unwrap();
        self.input(Input::Granted(Grant {
            lease: LeaseId::new(lease),
            job: job(),
            epoch: LeaseEpoch::new(epoch),
            island: IslandId::new(session_of(island).get()),
            session: session_of(island),
            units_max,
            speeds: Speeds::in_force(self.speeds, None),
            facts: self.facts,
        }));
    }

    fn reply(&mut self, words: &[&str]) {
        let mut words = words;
        let (mut epoch, mut island) = (None, None);
        loop {
            match words {
                [first, rest @ ..] if first.starts_with('@') => {
                    epoch = Some(first[1..].parse::<u8>().unwrap());
                    words = rest;
                }
                [first, rest @ ..] if first.ends_with(':') => {
                    island = first.chars().next();
                    words = rest;
                }
                _ => break,
            }
        }
        let [number, verb, rest @ ..] = words else {
            panic!("no such step: {words:?}")
        };
        let number: u64 = number.parse().unwrap();
        let known = self.leases.iter().find(|(known, _, _)| *known == number);
        let (_, holder, true_epoch) = known.copied().unwrap_or((number, 'A', 0));
        let from = Reply {
            session: session_of(island.unwrap_or(holder)),
            lease: LeaseId::new(number),
            epoch: LeaseEpoch::new(epoch.unwrap_or(true_epoch)),
        };
        match (*verb, rest) {
            ("ack", []) => self.input(Input::Acknowledged(from)),
            ("decline", []) => self.input(Input::Declined(from)),
            ("free", []) => self.input(Input::SlotFree {
                session: from.session,
                lease: from.lease,
            }),
            ("out", [first_index, ids @ ..]) => {
                let ids: Vec<u32> = ids.iter().map(|id| id.parse().unwrap()).collect();
                if let Some((_, sent)) = self.sent.iter_mut().find(|(known, _)| *known == number) {
                    sent.extend(&ids);
                }
                self.input(Input::Output {
                    from,
                    first_index: first_index.trim_end_matches(':').parse().unwrap(),
                    ids,
                });
            }
            ("sign", [claim]) => {
                let claim = self.claim(from, claim).unwrap();
                self.input(Input::Checkpoint { from, claim });
            }
            ("done", [reason, claim]) => {
                let reason = match *reason {
                    "stop" => FinishReason::Stop,
                    "length" => FinishReason::Length,
                    "cancelled" => FinishReason::Cancelled,
                    "error" => FinishReason::Error,
                    other => panic!("no such reason: {other}"),
                };
                let claim = self.claim(from, claim);
                self.input(Input::Finished { from, reason, claim });
            }
            step => panic!("no such step: {step:?}"),
        }
    }

    fn claim(&self, from: Reply, text: &str) -> Option<SignedClaim> {
        if text == "-" {
            return None;
        }
        if text.ends_with('?') {
            return Some(SignedClaim::Unsound);
        }
        let count: usize = text.trim_end_matches('!').parse().unwrap();
        let sent = self.sent.iter().find(|(known, _)| *known == from.lease.get());
        let mut ids = sent.map_or(Vec::new(), |(_, sent)| sent.clone());
        ids.resize(count, 0);
        if text.ends_with('!') {
            ids.push(0);
        }
        Some(SignedClaim::Sound(Claim {
            output_tokens: TokenCount::new(u32::try_from(count).unwrap()),
            chain: chain_over(from.lease, from.epoch, &ids),
        }))
    }

    fn wait(&mut self, millis: u64) {
        let until = self.now.after(std::time::Duration::from_millis(millis));
        while let Some(at) = self.dispatcher.poll_timeout().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.dispatcher.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn input(&mut self, input: Input) {
        self.dispatcher.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.dispatcher.next_effect() {
            let at = self.now.since(START).as_millis();
            writeln!(self.log, "{at}: {}", self.show(&effect)).unwrap();
        }
    }

    fn show(&self, effect: &Effect) -> String {
        let after = |deadline: Timestamp| format!("until {}", deadline.since(START).as_millis());
        match effect {
            Effect::Assign {
                session,
                lease,
                epoch,
                emitted,
                max_tokens,
                ..
            } => format!(
                "assign {} to {} epoch {} after {emitted:?} max {max_tokens}",
                lease.get(),
                letter(*session),
                epoch.get()
            ),
            Effect::Revoke {
                session,
                lease,
                reason,
                ..
            } => format!("revoke {} from {}: {reason:?}", lease.get(), letter(*session)),
            Effect::EndSession { session } => format!("end session {}", letter(*session)),
            Effect::Deliver { ids, .. } => format!("deliver {ids:?}"),
            Effect::Checkpoint { lease, units } => format!("checkpoint {}: {units}", lease.get()),
            Effect::AcceptReceipt { lease } => format!("receipt {} holds", lease.get()),
            Effect::RefuseReceipt { lease, reason, .. } => {
                format!("receipt {} refused: {}", lease.get(), reason.code())
            }
            Effect::Audit { lease, finding, .. } => format!("audit {}: {finding:?}", lease.get()),
            Effect::CloseLease { settlement, end } => format!(
                "close {} {:?}: prompt {} output {} units {} reread {}",
                settlement.lease.get(),
                end.outcome,
                settlement.prompt_tokens,
                settlement.output_tokens,
                settlement.units,
                settlement.reread_units
            ),
            Effect::FailOver {
                settlement,
                units_max,
                time_in_force,
                ..
            } => format!(
                "fail over {}: output {} units {} left {units_max} {}",
                settlement.lease.get(),
                settlement.output_tokens,
                settlement.units,
                match time_in_force {
                    TimeInForce::Gtd(deadline) => after(*deadline),
                    other => format!("{other:?}"),
                }
            ),
            Effect::ReleaseSlot { lease, .. } => format!("slot of {} is free", lease.get()),
            Effect::CancelRebid { .. } => "cancel the rebid".to_owned(),
            Effect::ReportFailover { failure, emitted, .. } => format!("tell: {failure:?} after {emitted}"),
            Effect::JobEnded {
                outcome,
                cause,
                output_tokens,
                failovers,
                ..
            } => format!(
                "ended {outcome:?}{} with {output_tokens} tokens, {failovers} failovers",
                cause.map_or(String::new(), |cause| format!(" ({})", cause.code()))
            ),
        }
    }
}
