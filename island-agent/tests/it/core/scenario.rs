//! The core as a script: inputs go in, and what it does about them comes out as text.

use std::time::Duration;

use domain::{
    Digest, IslandId, JobId, LeaseEpoch, LeaseId, OrderId, Price, ReceiptBody, SessionId, Tier, Timestamp,
};
use expect_test::Expect;
use island_agent::agent::{Agent, AskRule, BackoffRule, OfferedModel, Settings};
use island_agent::effect::{
    AskReport, AskStatus, Assignment, Beat, Closing, Effect, Incoming, Input, Notice, Outgoing, Pay, RunId,
    Stopped,
};
use island_agent::pricing::PricingRule;
use runner::FinishReason;
use runner::sampler::Sampling;

pub(super) fn settings(slots: u32) -> Settings {
    Settings {
        region: "eu-west".to_owned(),
        models: vec![OfferedModel {
            model: "m".to_owned(),
            digest: Digest::of(b"weights"),
        }],
        slots,
        asks: AskRule {
            pricing: PricingRule::flat(Price::new(20_000).unwrap()),
            jobs: 10,
            reprice_after: Duration::from_secs(5),
        },
        reconnect: BackoffRule {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
        },
        drain_within: Duration::from_secs(30),
        seed: 1,
    }
}

pub(super) fn assignment(lease: u64, epoch: u8, job: u128) -> Box<Assignment> {
    Box::new(Assignment {
        lease: LeaseId::new(lease),
        epoch: LeaseEpoch::new(epoch),
        job: JobId::new(job),
        model: "m".to_owned(),
        price: Price::new(20_000).unwrap(),
        prompt_ids: vec![1, 2, 3],
        emitted_ids: vec![],
        max_tokens: 100,
        sampling: Sampling::GREEDY,
        stop_ids: vec![],
        pay: Pay::Paid,
    })
}

/// The core with a clock, and everything that it did.
pub(super) struct Script {
    pub(super) agent: Agent,
    pub(super) now: Timestamp,
}

impl Script {
    pub(super) fn new(settings: Settings) -> Self {
        let now = Timestamp::from_micros(1_000_000_000);
        Self {
            agent: Agent::new(settings, now),
            now,
        }
    }

    /// In session, with a tier and an ask in the book.
    pub(super) fn quoting(settings: Settings) -> Self {
        let mut script = Self::new(settings);
        script.open(9);
        script.hear(Incoming::TierAssigned {
            model: "m".to_owned(),
            tier: Some(Tier::Laptop),
            decode_per_second: 20.0,
            reason: String::new(),
        });
        script.hear(live("ses_9-0", 4, 10));
        script
    }

    /// Lets the agent connect and opens a session.
    pub(super) fn open(&mut self, session: u64) {
        self.now = self.agent.poll_timeout().unwrap();
        self.wake();
        let island = IslandId::new(1);
        self.take(Input::Enrolled { island });
        self.hear(Incoming::Welcome {
            session: SessionId::new(session),
            heartbeat: Duration::from_secs(3),
        });
    }

    /// Loses the session.
    pub(super) fn lose(&mut self) -> Vec<Effect> {
        let reason = "gone".to_owned();
        self.take(Input::SessionEnded { reason })
    }

    pub(super) fn take(&mut self, input: Input) -> Vec<Effect> {
        self.agent.handle(input, self.now);
        self.effects()
    }

    pub(super) fn hear(&mut self, incoming: Incoming) -> Vec<Effect> {
        self.take(Input::Received(incoming))
    }

    pub(super) fn wake(&mut self) -> Vec<Effect> {
        self.agent.handle_timeout(self.now);
        self.effects()
    }

    pub(super) fn after(&mut self, span: Duration) -> &mut Self {
        self.now = self.now.after(span);
        self
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.agent.next_effect()).collect()
    }

    /// Assigns and starts a job.
    pub(super) fn run(&mut self, lease: u64, run: u64) {
        self.hear(Incoming::Assign(assignment(lease, 0, lease.into())));
        self.take(Input::RunStarted { run: RunId(run) });
    }

    pub(super) fn tokens(&mut self, run: u64, position: u32, count: u32) -> Vec<Effect> {
        self.take(Input::RunTokens {
            run: RunId(run),
            position,
            ids: (position..position + count).collect(),
        })
    }

    pub(super) fn end(&mut self, run: u64, reason: Option<FinishReason>) -> Vec<Effect> {
        let run = RunId(run);
        self.take(Input::RunEnded { run, reason })
    }
}

pub(super) fn live(name: &str, order: u64, leaves: u32) -> Incoming {
    Incoming::AskReport(AskReport {
        client_order_id: name.to_owned(),
        status: AskStatus::Live {
            order: OrderId::new(order),
            leaves,
        },
    })
}

pub(super) fn ask_status(name: &str, status: AskStatus) -> Incoming {
    Incoming::AskReport(AskReport {
        client_order_id: name.to_owned(),
        status,
    })
}

pub(super) fn revoke(lease: u64, epoch: u8) -> Incoming {
    Incoming::Revoke {
        lease: LeaseId::new(lease),
        epoch: LeaseEpoch::new(epoch),
        reason: String::new(),
    }
}

pub(super) fn show(effects: &[Effect]) -> String {
    let lines: Vec<String> = effects.iter().filter_map(show_one).collect();
    lines.join("; ")
}

pub(super) fn final_receipt(effects: &[Effect]) -> Box<ReceiptBody> {
    let body = effects.iter().find_map(|effect| {
        let Effect::Send(Outgoing::Finished { body, .. }) = effect else {
            return None;
        };
        Some(body.clone())
    });
    body.unwrap()
}

fn count(body: &ReceiptBody) -> u32 {
    body.output_tokens.get()
}

fn show_one(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Tell(Notice::Ignored { why }) => format!("ignore ({why})"),
        Effect::Tell(_) => return None,
        Effect::Connect => "connect".to_owned(),
        Effect::OpenSession => "open".to_owned(),
        Effect::CloseSession(Closing::Orderly) => "close in order".to_owned(),
        Effect::CloseSession(Closing::Abrupt) => "close".to_owned(),
        Effect::StartRun { run, .. } => format!("start {}", run.0),
        Effect::CancelRun { run } => format!("cancel {}", run.0),
        Effect::Record(earning) => format!("record {}", count(&earning.body)),
        Effect::Stop(Stopped::Drained) => "stop".to_owned(),
        Effect::Stop(Stopped::Unwanted { reason }) => format!("stop ({reason})"),
        Effect::Send(outgoing) => show_outgoing(outgoing),
    })
}

fn show_outgoing(outgoing: &Outgoing) -> String {
    match outgoing {
        Outgoing::Hello { nonce: None, .. } => "hello".to_owned(),
        Outgoing::Hello { nonce: Some(_), .. } => "hello with proof".to_owned(),
        Outgoing::Heartbeat { nonce, kind } => match kind {
            Beat::Call => format!("beat {nonce}"),
            Beat::Echo => format!("echo {nonce}"),
        },
        Outgoing::PostAsk {
            client_order_id,
            price,
            jobs,
            ..
        } => format!("ask {client_order_id} {jobs}@{}", price.get()),
        Outgoing::CancelAsk { order } => format!("cancel {order}"),
        Outgoing::Acknowledge { lease, .. } => format!("acknowledge {lease}"),
        Outgoing::Decline { lease, reason, .. } => format!("decline {lease} ({reason})"),
        Outgoing::Output {
            lease,
            first_index,
            ids,
            ..
        } => format!("output {lease} {first_index}+{}", ids.len()),
        Outgoing::Checkpoint(body) => format!("checkpoint {}", count(body)),
        Outgoing::Finished { body, reason } => format!("finished {} {} {reason:?}", body.lease, count(body)),
        Outgoing::Drain => "drain".to_owned(),
        Outgoing::SlotFree { lease } => format!("free {lease}"),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "an expectation is written where it is checked"
)]
pub(super) fn check(effects: Vec<Effect>, expected: Expect) {
    expected.assert_eq(&show(&effects));
}
