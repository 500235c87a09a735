//! The core under chance: whatever the exchange, the runner and the clock do, its promises hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::{ChainHead, IslandId, LeaseEpoch, LeaseId, OrderId, ReceiptKind, SessionId, Tier};
use island_agent::effect::{
    AskReport, AskStatus, Beat, Effect, Incoming, Input, Outgoing, Remedy, RunId, Verdict,
};
use proptest::prelude::*;
use runner::FinishReason;

use super::scenario::{Script, assignment, settings};

const SLOTS: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Wake,
    Enrolled,
    ConnectFailed,
    Challenge,
    Welcome,
    Tier(bool),
    AskLive(u32),
    AskEnded,
    AskRejected,
    Assign { lease: u64, epoch: u8, job: u128 },
    Revoke { lease: u64, epoch: u8 },
    Report(u64),
    Tokens { nth: usize, count: u32 },
    End { nth: usize, dies: bool },
    SessionEnded,
    Goodbye,
    Malformed,
    Beat,
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2_000_000u64).prop_map(Step::Wait),
        6 => Just(Step::Wake),
        4 => Just(Step::Enrolled),
        1 => Just(Step::ConnectFailed),
        1 => Just(Step::Challenge),
        4 => Just(Step::Welcome),
        2 => any::<bool>().prop_map(Step::Tier),
        3 => (0..3u32).prop_map(Step::AskLive),
        1 => Just(Step::AskEnded),
        1 => Just(Step::AskRejected),
        12 => (1..12u64, 0..3u8, 1..4u128).prop_map(|(lease, epoch, job)| Step::Assign { lease, epoch, job }),
        3 => (1..12u64, 0..3u8).prop_map(|(lease, epoch)| Step::Revoke { lease, epoch }),
        2 => (1..12u64).prop_map(Step::Report),
        16 => (0..4usize, 0..40u32).prop_map(|(nth, count)| Step::Tokens { nth, count }),
        6 => (0..4usize, any::<bool>()).prop_map(|(nth, dies)| Step::End { nth, dies }),
        1 => Just(Step::SessionEnded),
        1 => Just(Step::Goodbye),
        1 => Just(Step::Malformed),
        4 => Just(Step::Beat),
        1 => Just(Step::Drain),
    ]
}

/// What a strict exchange and a strict runner would have seen.
#[derive(Default)]
struct Witness {
    in_stream: bool,
    welcomed: bool,
    draining: bool,
    stopped: bool,
    sessions: u64,
    /// Runs on the machine: their lease, and the ids the runner emitted.
    machine: BTreeMap<RunId, (LeaseId, LeaseEpoch, u32)>,
    /// Per lease of this session: ids sent, ids signed, chain, whether it was acknowledged.
    sent: BTreeMap<LeaseId, Sent>,
    last_ask: Option<String>,
    names: BTreeSet<String>,
    finished: BTreeSet<(u64, LeaseId)>,
}

struct Sent {
    count: u32,
    signed: u32,
    chain: ChainHead,
    is_over: bool,
}

impl Witness {
    fn see(&mut self, effect: &Effect) -> Vec<Input> {
        assert!(!self.stopped, "nothing follows the stop, not even {effect:?}");
        match effect {
            Effect::OpenSession => {
                assert!(!self.in_stream);
                self.in_stream = true;
            }
            Effect::CloseSession(_) => {
                assert!(self.in_stream);
                self.leave();
            }
            Effect::StartRun { run, assignment } => {
                self.machine.insert(*run, (assignment.lease, assignment.epoch, 0));
                assert!(self.machine.len() <= 3, "more runs than slots");
                return vec![Input::RunStarted { run: *run }];
            }
            Effect::CancelRun { run } => assert!(self.machine.contains_key(run), "a cancelled run runs"),
            Effect::Stop(_) => self.stopped = true,
            Effect::Send(outgoing) => self.hear(outgoing),
            Effect::Connect => assert!(!self.in_stream),
            Effect::Record(_) | Effect::Tell(_) => {}
        }
        Vec::new()
    }

    fn leave(&mut self) {
        self.in_stream = false;
        self.welcomed = false;
        self.sent.clear();
        self.last_ask = None;
    }

    fn hear(&mut self, outgoing: &Outgoing) {
        assert!(self.in_stream, "{outgoing:?} without a stream");
        let is_hello = matches!(outgoing, Outgoing::Hello { .. });
        assert!(is_hello != self.welcomed, "{outgoing:?} at the wrong time");
        match outgoing {
            Outgoing::Acknowledge { lease, epoch } => {
                let sent = Sent {
                    count: 0,
                    signed: 0,
                    chain: ChainHead::start(*lease, *epoch),
                    is_over: false,
                };
                // A repeated acknowledgement changes nothing.
                self.sent.entry(*lease).or_insert(sent);
            }
            Outgoing::Output {
                lease,
                first_index,
                ids,
                ..
            } => {
                let sent = self.sent.get_mut(lease).expect("output follows acknowledgement");
                assert!(!sent.is_over && !ids.is_empty() && *first_index == sent.count);
                sent.count += u32::try_from(ids.len()).unwrap();
                sent.chain = ids.iter().fold(sent.chain, |head, id| head.extend(*id));
                assert!(sent.count - sent.signed <= 16, "a checkpoint is missing");
            }
            Outgoing::Checkpoint(body) | Outgoing::Finished { body, .. } => {
                let sent = self
                    .sent
                    .get_mut(&body.lease)
                    .expect("a receipt follows acknowledgement");
                assert!(!sent.is_over);
                assert_eq!((body.output_tokens.get(), body.chain), (sent.count, sent.chain));
                sent.signed = sent.count;
                if body.kind == ReceiptKind::Final {
                    sent.is_over = true;
                    assert!(
                        self.finished.insert((self.sessions, body.lease)),
                        "one end a lease"
                    );
                }
            }
            Outgoing::PostAsk { client_order_id, .. } => {
                assert!(!self.draining);
                let is_new = self.names.insert(client_order_id.clone());
                assert!(is_new || self.last_ask.as_ref() == Some(client_order_id));
                self.last_ask = Some(client_order_id.clone());
            }
            Outgoing::Hello { .. }
            | Outgoing::Heartbeat { .. }
            | Outgoing::CancelAsk { .. }
            | Outgoing::Decline { .. }
            | Outgoing::Drain
            | Outgoing::SlotFree { .. } => {}
        }
    }
}

fn ask(witness: &Witness, status: AskStatus) -> Option<Input> {
    let client_order_id = witness.last_ask.clone()?;
    let report = AskReport {
        client_order_id,
        status,
    };
    Some(Input::Received(Incoming::AskReport(report)))
}

/// The input of a step, if the world could produce it now.
fn input_of(step: Step, witness: &mut Witness) -> Option<Input> {
    let nth = |witness: &Witness, nth: usize| witness.machine.keys().copied().nth(nth);
    let received = |witness: &Witness, incoming| witness.in_stream.then_some(Input::Received(incoming));
    match step {
        Step::Wait(_) | Step::Wake => None,
        Step::Enrolled => Some(Input::Enrolled {
            island: IslandId::new(1),
        }),
        Step::ConnectFailed => Some(Input::ConnectFailed {
            reason: String::new(),
            remedy: Remedy::Retry,
        }),
        Step::Challenge => (!witness.welcomed)
            .then(|| received(witness, Incoming::Challenge { nonce: [0; 32] }))
            .flatten(),
        Step::Welcome => {
            if witness.in_stream && !witness.welcomed {
                witness.welcomed = true;
                witness.sessions += 1;
            }
            let session = SessionId::new(witness.sessions);
            let heartbeat = Duration::from_secs(3);
            received(witness, Incoming::Welcome { session, heartbeat })
        }
        Step::Tier(is_quotable) => received(
            witness,
            Incoming::TierAssigned {
                model: "m".to_owned(),
                tier: is_quotable.then_some(Tier::Phone),
                decode_per_second: f64::NAN,
                reason: String::new(),
            },
        ),
        Step::AskLive(leaves) => ask(
            witness,
            AskStatus::Live {
                order: OrderId::new(1),
                leaves,
            },
        ),
        Step::AskEnded => ask(witness, AskStatus::Ended { code: String::new() }),
        Step::AskRejected => ask(witness, AskStatus::Rejected { code: String::new() }),
        Step::Assign { lease, epoch, job } => {
            received(witness, Incoming::Assign(assignment(lease, epoch, job)))
        }
        Step::Revoke { lease, epoch } => received(
            witness,
            Incoming::Revoke {
                lease: LeaseId::new(lease),
                epoch: LeaseEpoch::new(epoch),
                reason: String::new(),
            },
        ),
        Step::Report(lease) => received(
            witness,
            Incoming::ReceiptReport {
                lease: LeaseId::new(lease),
                verdict: Verdict::Refused { code: String::new() },
            },
        ),
        Step::Tokens { nth: index, count } => {
            let run = nth(witness, index)?;
            let emitted = &mut witness.machine.get_mut(&run)?.2;
            let position = *emitted;
            *emitted += count;
            let ids = (position..position + count).collect();
            Some(Input::RunTokens { run, position, ids })
        }
        Step::End { nth: index, dies } => {
            let run = nth(witness, index)?;
            witness.machine.remove(&run);
            let reason = (!dies).then_some(FinishReason::Length);
            Some(Input::RunEnded { run, reason })
        }
        Step::SessionEnded => {
            let was_open = witness.in_stream;
            witness.leave();
            let reason = String::new();
            was_open.then_some(Input::SessionEnded { reason })
        }
        Step::Goodbye => received(
            witness,
            Incoming::Goodbye {
                reason: String::new(),
                retry_after: Some(Duration::from_millis(5)),
            },
        ),
        Step::Malformed => received(
            witness,
            Incoming::Malformed {
                problem: String::new(),
                assign: Some((LeaseId::new(50), LeaseEpoch::FIRST)),
            },
        ),
        Step::Beat => received(
            witness,
            Incoming::Heartbeat {
                nonce: 0,
                kind: Beat::Echo,
            },
        ),
        Step::Drain => {
            witness.draining = true;
            Some(Input::DrainRequested)
        }
    }
}

fn settle(script: &mut Script, witness: &mut Witness, effects: Vec<Effect>) {
    let mut waiting = effects;
    while !waiting.is_empty() {
        let mut next = Vec::new();
        for effect in waiting {
            for input in witness.see(&effect) {
                next.extend(script.take(input));
            }
        }
        waiting = next;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn an_agent_keeps_its_promises(steps in proptest::collection::vec(step(), 0..250)) {
        let mut script = Script::new(settings(SLOTS));
        let mut witness = Witness::default();
        for step in steps {
            if let Step::Wait(micros) = step {
                script.now = script.now.after(Duration::from_micros(micros));
            }
            let effects = match input_of(step, &mut witness) {
                Some(input) if !witness.stopped => script.take(input),
                Some(_) | None => script.wake(),
            };
            settle(&mut script, &mut witness, effects);
            prop_assert!(script.agent.status().running <= SLOTS);
            // What is due was done: the agent never asks to be woken in the past twice.
            let effects = script.wake();
            settle(&mut script, &mut witness, effects);
            let wake_at = script.agent.poll_timeout();
            prop_assert!(wake_at.is_none_or(|at| at > script.now), "{wake_at:?} at {:?}", script.now);
        }
        // Given time, a drained agent stops.
        if !witness.stopped {
            let effects = script.take(Input::DrainRequested);
            witness.draining = true;
            settle(&mut script, &mut witness, effects);
        }
        for _ in 0..1_000 {
            let Some(at) = script.agent.poll_timeout() else { break };
            script.now = at;
            let effects = script.wake();
            settle(&mut script, &mut witness, effects);
        }
        prop_assert!(witness.stopped);
    }
}
