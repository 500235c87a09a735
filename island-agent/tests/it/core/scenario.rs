//! The core as a script: inputs, and what it does about them.

use std::time::Duration;

use domain::{
    Credits, Digest, IslandId, JobId, LeaseEpoch, LeaseId, OrderId, Price, ReceiptBody, SessionId, Tier,
    Timestamp,
};
use expect_test::{Expect, expect};
use island_agent::agent::{Agent, AskRule, BackoffRule, OfferedModel, Settings};
use island_agent::effect::{
    AskReport, AskStatus, Assignment, Beat, Closing, Effect, Incoming, Input, Notice, Outgoing, Pay, Remedy,
    RunId, Signatures, Stopped, Verdict,
};
use island_agent::pricing::PricingRule;
use island_agent::runner::FinishReason;
use island_agent::sampler::Sampling;
use island_agent::status::Phase;

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
    fn quoting(settings: Settings) -> Self {
        let mut script = Self::new(settings);
        script.wake();
        let island = IslandId::new(1);
        script.take(Input::Enrolled { island });
        script.hear(Incoming::Welcome {
            session: SessionId::new(9),
            heartbeat: Duration::from_secs(3),
        });
        script.hear(Incoming::TierAssigned {
            model: "m".to_owned(),
            tier: Some(Tier::Laptop),
            decode_per_second: 20.0,
            reason: String::new(),
        });
        script.hear(live("ses_9-0", 4, 10));
        script
    }

    pub(super) fn take(&mut self, input: Input) -> Vec<Effect> {
        self.agent.handle(input, self.now);
        self.effects()
    }

    fn hear(&mut self, incoming: Incoming) -> Vec<Effect> {
        self.take(Input::Received(incoming))
    }

    pub(super) fn wake(&mut self) -> Vec<Effect> {
        self.agent.handle_timeout(self.now);
        self.effects()
    }

    fn after(&mut self, span: Duration) -> &mut Self {
        self.now = self.now.after(span);
        self
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.agent.next_effect()).collect()
    }

    /// Assigns and starts a job.
    fn run(&mut self, lease: u64, run: u64) {
        self.hear(Incoming::Assign(assignment(lease, 0, lease.into())));
        self.take(Input::RunStarted { run: RunId(run) });
    }

    fn tokens(&mut self, run: u64, position: u32, count: u32) -> Vec<Effect> {
        self.take(Input::RunTokens {
            run: RunId(run),
            position,
            ids: (position..position + count).collect(),
        })
    }

    fn end(&mut self, run: u64, reason: Option<FinishReason>) -> Vec<Effect> {
        let run = RunId(run);
        self.take(Input::RunEnded { run, reason })
    }
}

fn live(name: &str, order: u64, leaves: u32) -> Incoming {
    Incoming::AskReport(AskReport {
        client_order_id: name.to_owned(),
        status: AskStatus::Live {
            order: OrderId::new(order),
            leaves,
        },
    })
}

fn ask_status(name: &str, status: AskStatus) -> Incoming {
    Incoming::AskReport(AskReport {
        client_order_id: name.to_owned(),
        status,
    })
}

fn revoke(lease: u64, epoch: u8) -> Incoming {
    Incoming::Revoke {
        lease: LeaseId::new(lease),
        epoch: LeaseEpoch::new(epoch),
        reason: String::new(),
    }
}

fn show(effects: &[Effect]) -> String {
    let lines: Vec<String> = effects.iter().filter_map(show_one).collect();
    lines.join("; ")
}

fn final_receipt(effects: &[Effect]) -> Box<ReceiptBody> {
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
fn check(effects: Vec<Effect>, expected: Expect) {
    expected.assert_eq(&show(&effects));
}

#[test]
fn an_agent_enrols_proves_its_key_and_quotes_once_its_tier_is_assigned() {
    let mut script = Script::new(settings(1));
    check(script.wake(), expect!["connect"]);
    let island = IslandId::new(1);
    check(script.take(Input::Enrolled { island }), expect!["open; hello"]);
    check(
        script.hear(Incoming::Challenge { nonce: [1; 32] }),
        expect!["hello with proof"],
    );
    let heartbeat = Duration::from_secs(3);
    let session = SessionId::new(9);
    check(script.hear(Incoming::Welcome { session, heartbeat }), expect![""]);
    assert_eq!(script.agent.status().phase, Phase::Welcomed);
    let tier = |tier| Incoming::TierAssigned {
        model: "m".to_owned(),
        tier,
        decode_per_second: 20.0,
        reason: String::new(),
    };
    check(script.hear(tier(None)), expect![""]);
    check(
        script.hear(tier(Some(Tier::Laptop))),
        expect!["ask ses_9-0 10@20000"],
    );
    check(script.hear(live("ses_9-0", 4, 10)), expect![""]);
    assert_eq!(script.agent.status().phase, Phase::Quoting);
    check(script.hear(tier(None)), expect!["cancel ord_4"]);
}

#[test]
fn a_filled_ask_is_renewed_at_once_and_a_refused_one_after_a_pause() {
    let mut script = Script::quoting(settings(1));
    check(script.hear(live("ses_9-0", 4, 3)), expect![""]);
    check(
        script.hear(live("ses_9-0", 4, 0)),
        expect!["ask ses_9-1 10@20000"],
    );
    let code = "HALTED".to_owned();
    check(
        script.hear(ask_status("ses_9-1", AskStatus::Rejected { code })),
        expect![""],
    );
    assert_eq!(script.agent.status().phase, Phase::Welcomed);
    script.after(Duration::from_secs(1));
    check(script.wake(), expect!["ask ses_9-2 10@20000"]);
    // An ask that should not stand any more is taken out of the book.
    check(script.hear(live("ses_9-1", 5, 3)), expect!["cancel ord_5"]);
    check(script.hear(live("ses_9-1", 5, 0)), expect![""]);
}

#[test]
fn a_refused_cancellation_is_sent_again_and_a_needless_one_is_not() {
    let refused = |code: &str| {
        let order = OrderId::new(4);
        let code = code.to_owned();
        ask_status("", AskStatus::CancelRefused { order, code })
    };
    let cancelling = || {
        let mut script = Script::quoting(settings(1));
        let no_tier = Incoming::TierAssigned {
            model: "m".to_owned(),
            tier: None,
            decode_per_second: 1.0,
            reason: String::new(),
        };
        check(script.hear(no_tier), expect!["cancel ord_4"]);
        script
    };
    let mut script = cancelling();
    check(script.hear(refused("RATE_LIMITED")), expect![""]);
    script.after(Duration::from_secs(1));
    check(script.wake(), expect!["cancel ord_4"]);
    let mut script = cancelling();
    check(script.hear(refused("UNKNOWN_ORDER")), expect![""]);
    script.after(Duration::from_secs(8));
    check(script.wake(), expect!["beat 1"]);
}

#[test]
fn a_repeated_ask_that_is_refused_as_a_duplicate_stands_as_the_first() {
    let mut script = Script::quoting(settings(1));
    script.hear(live("ses_9-0", 4, 0));
    for _ in 0..2 {
        script.after(Duration::from_secs(5));
        script.hear(Incoming::Heartbeat {
            nonce: 1,
            kind: Beat::Echo,
        });
    }
    let code = "DUPLICATE_CLIENT_ORDER_ID".to_owned();
    check(
        script.hear(ask_status("ses_9-1", AskStatus::Rejected { code })),
        expect![""],
    );
    script.hear(live("ses_9-1", 5, 10));
    assert_eq!(script.agent.status().phase, Phase::Quoting);
}

#[test]
fn a_lease_that_is_settled_early_is_paid_by_its_checkpoint_once() {
    let mut script = Script::quoting(settings(1));
    script.run(1, 0);
    let effects = script.tokens(0, 0, 20);
    let checkpoint = effects.iter().find_map(|effect| {
        let Effect::Send(Outgoing::Checkpoint(body)) = effect else {
            return None;
        };
        Some(body.clone())
    });
    script.hear(revoke(1, 0));
    let report = |verdict| Incoming::ReceiptReport {
        lease: LeaseId::new(1),
        verdict,
    };
    let paid = Verdict::Countersigned {
        body: checkpoint.unwrap(),
        signatures: Box::new(Signatures {
            island: String::new(),
            exchange: String::new(),
        }),
        earned: Credits::from_nano(5),
    };
    check(script.hear(report(paid.clone())), expect!["record 16"]);
    check(
        script.hear(report(paid)),
        expect!["ignore (it reports on a receipt that nobody waits for)"],
    );
    check(
        script.end(0, None),
        expect!["finished lse_1 20 Cancelled; free lse_1"],
    );
    let code = "SETTLED".to_owned();
    check(
        script.hear(report(Verdict::Refused { code })),
        expect!["record 20"],
    );
    assert_eq!(script.agent.status().earned_nano, 5);
}

#[test]
fn an_unanswered_ask_is_sent_again_under_its_name() {
    let mut script = Script::quoting(settings(1));
    let code = "EXPIRED".to_owned();
    script.hear(ask_status("ses_9-0", AskStatus::Ended { code }));
    script.after(Duration::from_secs(1));
    check(script.wake(), expect!["ask ses_9-1 10@20000"]);
    let mut said = Vec::new();
    for _ in 0..5 {
        script.after(Duration::from_secs(2));
        said.extend(script.hear(Incoming::Heartbeat {
            nonce: 1,
            kind: Beat::Echo,
        }));
    }
    said.retain(|effect| matches!(effect, Effect::Send(Outgoing::PostAsk { .. })));
    check(said, expect!["ask ses_9-1 10@20000"]);
}

#[test]
fn a_price_follows_the_load_but_not_faster_than_the_owner_allows() {
    let mut busy = settings(2);
    busy.asks.pricing.surcharge_percent = 50;
    let mut script = Script::quoting(busy);
    script.run(1, 0);
    assert_eq!(show(&script.wake()), "");
    script.after(Duration::from_secs(5));
    check(script.wake(), expect!["beat 1; cancel ord_4"]);
    let code = "CANCELLED".to_owned();
    check(
        script.hear(ask_status("ses_9-0", AskStatus::Ended { code })),
        expect!["ask ses_9-1 10@30000"],
    );
}

#[test]
fn ids_leave_a_checkpoint_at_a_time_and_a_receipt_ends_the_job() {
    let mut script = Script::quoting(settings(1));
    check(
        script.hear(Incoming::Assign(assignment(1, 0, 1))),
        expect!["start 0"],
    );
    check(
        script.take(Input::RunStarted { run: RunId(0) }),
        expect!["acknowledge lse_1"],
    );
    check(script.tokens(0, 0, 1), expect!["output lse_1 0+1"]);
    check(
        script.tokens(0, 1, 40),
        expect!["output lse_1 1+15; checkpoint 16; output lse_1 16+16; checkpoint 32; output lse_1 32+9"],
    );
    script.after(Duration::from_secs(1));
    check(script.wake(), expect!["checkpoint 41"]);
    check(
        script.end(0, Some(FinishReason::Stop)),
        expect!["finished lse_1 41 Stop"],
    );
    assert_eq!(script.agent.status().running, 0);
}

#[test]
fn an_assignment_that_repeats_is_acknowledged_again_and_runs_once() {
    let mut script = Script::quoting(settings(4));
    script.run(1, 0);
    check(
        script.hear(Incoming::Assign(assignment(1, 0, 1))),
        expect!["acknowledge lse_1; ignore (lse_1 was assigned before and runs)"],
    );
    script.end(0, Some(FinishReason::Stop));
    check(
        script.hear(Incoming::Assign(assignment(1, 0, 1))),
        expect!["ignore (lse_1 was assigned before and has ended)"],
    );
    // A later attempt at the job is new; an earlier one is stale, while it runs and after.
    check(
        script.hear(Incoming::Assign(assignment(2, 2, 1))),
        expect!["start 1"],
    );
    check(
        script.hear(Incoming::Assign(assignment(3, 1, 1))),
        expect!["ignore (lse_3 is a stale attempt at job_1)"],
    );
    script.take(Input::RunStarted { run: RunId(1) });
    script.end(1, Some(FinishReason::Stop));
    check(
        script.hear(Incoming::Assign(assignment(4, 1, 1))),
        expect!["ignore (lse_4 is a stale attempt at job_1)"],
    );
}

#[test]
fn what_cannot_run_is_declined_with_its_reason() {
    let mut script = Script::quoting(settings(1));
    let mut other = assignment(1, 0, 1);
    other.model = "other".to_owned();
    check(
        script.hear(Incoming::Assign(other)),
        expect!["decline lse_1 (this Island does not offer that model)"],
    );
    script.hear(Incoming::Assign(assignment(2, 0, 2)));
    let reason = "the prompt is empty".to_owned();
    check(
        script.take(Input::RunRefused {
            run: RunId(0),
            reason,
        }),
        expect!["decline lse_2 (the prompt is empty)"],
    );
    script.run(3, 1);
    check(
        script.hear(Incoming::Assign(assignment(4, 0, 4))),
        expect!["decline lse_4 (all 1 slots are taken)"],
    );
    script.take(Input::DrainRequested);
    check(
        script.hear(Incoming::Assign(assignment(5, 0, 5))),
        expect!["decline lse_5 (this Island is draining)"],
    );
}

#[test]
fn a_revoked_job_says_no_more_and_frees_its_slot_when_the_runner_lets_go() {
    let mut script = Script::quoting(settings(1));
    script.run(1, 0);
    script.tokens(0, 0, 3);
    check(script.hear(revoke(1, 0)), expect!["cancel 0"]);
    check(script.hear(revoke(1, 0)), expect![""]);
    check(script.tokens(0, 3, 5), expect![""]);
    assert_eq!(script.agent.status().running, 1);
    check(
        script.end(0, Some(FinishReason::Length)),
        expect!["finished lse_1 3 Cancelled; free lse_1"],
    );
    assert_eq!(script.agent.status().running, 0);
}

#[test]
fn a_revoke_of_nothing_frees_nothing_twice_and_an_old_one_is_stale() {
    let mut script = Script::quoting(settings(1));
    check(script.hear(revoke(7, 0)), expect!["free lse_7"]);
    script.hear(Incoming::Assign(assignment(1, 3, 1)));
    script.take(Input::RunStarted { run: RunId(0) });
    check(
        script.hear(revoke(1, 2)),
        expect!["ignore (the revoke of lse_1 is for an earlier attempt)"],
    );
    check(script.tokens(0, 0, 1), expect!["output lse_1 0+1"]);
}

#[test]
fn a_runner_that_dies_or_lies_ends_as_an_error_with_an_honest_receipt() {
    let mut script = Script::quoting(settings(3));
    script.run(1, 0);
    script.tokens(0, 0, 2);
    check(
        script.end(0, None),
        expect![[r#"finished lse_1 2 Failed { message: "the runner died" }"#]],
    );
    script.run(2, 1);
    check(script.tokens(1, 5, 1), expect!["cancel 1"]);
    check(
        script.end(1, Some(FinishReason::Stop)),
        expect![[r#"finished lse_2 0 Failed { message: "the runner emitted position 5 out of turn" }"#]],
    );
    script.run(3, 2);
    check(script.tokens(2, 0, 101), expect!["cancel 2"]);
}

#[test]
fn positions_of_a_resumed_job_start_behind_what_was_emitted() {
    let mut script = Script::quoting(settings(1));
    let mut resumed = assignment(1, 1, 1);
    resumed.emitted_ids = vec![7; 5];
    script.hear(Incoming::Assign(resumed));
    script.take(Input::RunStarted { run: RunId(0) });
    check(script.tokens(0, 5, 2), expect!["output lse_1 0+2"]);
    let effects = script.end(0, Some(FinishReason::Length));
    let body = final_receipt(&effects);
    assert_eq!(body.prompt_tokens.get(), 8);
    assert_eq!(body.prompt, Digest::of_tokens(&[1, 2, 3, 7, 7, 7, 7, 7]));
}

#[test]
fn a_lost_session_cancels_its_jobs_and_comes_back_after_a_pause() {
    let mut script = Script::quoting(settings(1));
    script.run(1, 0);
    script.tokens(0, 0, 3);
    let reason = "gone".to_owned();
    check(script.take(Input::SessionEnded { reason }), expect!["cancel 0"]);
    assert_eq!(script.agent.status().phase, Phase::BackingOff);
    // The slot stays taken until the runner lets go, and nobody is told.
    assert_eq!(script.agent.status().running, 1);
    check(script.tokens(0, 3, 1), expect![""]);
    check(script.end(0, Some(FinishReason::Cancelled)), expect![""]);
    script.now = script.agent.poll_timeout().unwrap();
    check(script.wake(), expect!["connect"]);
}

#[test]
fn a_silent_exchange_counts_as_lost_after_three_heartbeats() {
    let mut script = Script::quoting(settings(1));
    for beat in 1..3 {
        script.after(Duration::from_secs(3));
        assert_eq!(show(&script.wake()), format!("beat {beat}"));
    }
    script.after(Duration::from_secs(3));
    check(script.wake(), expect!["close"]);
    assert_eq!(script.agent.status().phase, Phase::BackingOff);
}

#[test]
fn a_call_is_echoed_and_an_echo_is_not() {
    let mut script = Script::quoting(settings(1));
    let beat = |nonce, kind| Incoming::Heartbeat { nonce, kind };
    check(
        script.hear(beat(u64::MAX, Beat::Call)),
        expect!["echo 18446744073709551615"],
    );
    check(script.hear(beat(1, Beat::Echo)), expect![""]);
}

#[test]
fn a_goodbye_says_when_to_come_back_or_never() {
    let mut script = Script::quoting(settings(1));
    let goodbye = |retry_after| Incoming::Goodbye {
        reason: "maintenance".to_owned(),
        retry_after,
    };
    check(
        script.hear(goodbye(Some(Duration::from_secs(60)))),
        expect!["close"],
    );
    let wait = script.agent.poll_timeout().unwrap().since(script.now);
    assert!(
        wait >= Duration::from_secs(60) && wait <= Duration::from_millis(60_500),
        "{wait:?}"
    );
    let mut script = Script::quoting(settings(1));
    check(
        script.hear(goodbye(None)),
        expect!["close in order; stop (maintenance)"],
    );
    assert_eq!(script.agent.poll_timeout(), None);
}

#[test]
fn a_handshake_that_stalls_or_goes_wrong_is_given_up() {
    let begin = || {
        let mut script = Script::new(settings(1));
        script.wake();
        let island = IslandId::new(1);
        script.take(Input::Enrolled { island });
        script
    };
    let mut script = begin();
    script.after(Duration::from_secs(10));
    check(script.wake(), expect!["close"]);
    let mut script = begin();
    script.hear(Incoming::Challenge { nonce: [1; 32] });
    check(
        script.hear(Incoming::Challenge { nonce: [2; 32] }),
        expect!["close"],
    );
    let mut script = begin();
    let problem = "challenge.nonce: must be 32 bytes".to_owned();
    let malformed = Incoming::Malformed {
        problem,
        assign: None,
    };
    check(script.hear(malformed), expect!["close"]);
    let mut script = begin();
    check(
        script.hear(Incoming::Assign(assignment(1, 0, 1))),
        expect!["ignore (it came before the session was open)"],
    );
}

#[test]
fn only_the_owner_can_mend_a_wrong_key_until_it_was_once_right() {
    let refused = || Input::ConnectFailed {
        reason: "Unauthenticated".to_owned(),
        remedy: Remedy::Owner,
    };
    let mut script = Script::new(settings(1));
    script.wake();
    check(script.take(refused()), expect!["stop (Unauthenticated)"]);
    let mut script = Script::quoting(settings(1));
    let reason = "gone".to_owned();
    script.take(Input::SessionEnded { reason });
    script.now = script.agent.poll_timeout().unwrap();
    script.wake();
    check(script.take(refused()), expect![""]);
    assert_eq!(script.agent.status().phase, Phase::BackingOff);
}

#[test]
fn a_drain_finishes_what_runs_and_waits_for_the_last_report() {
    let mut script = Script::quoting(settings(1));
    script.run(1, 0);
    check(script.take(Input::DrainRequested), expect!["drain"]);
    check(script.tokens(0, 0, 1), expect!["output lse_1 0+1"]);
    let effects = script.end(0, Some(FinishReason::Stop));
    let finished = final_receipt(&effects);
    check(effects, expect!["finished lse_1 1 Stop"]);
    let verdict = Verdict::Countersigned {
        body: finished,
        signatures: Box::new(Signatures {
            island: String::new(),
            exchange: String::new(),
        }),
        earned: Credits::from_nano(5),
    };
    let lease = LeaseId::new(1);
    check(
        script.hear(Incoming::ReceiptReport { lease, verdict }),
        expect!["record 1; close in order; stop"],
    );
    assert_eq!(script.agent.status().earned_nano, 5);
}

#[test]
fn a_drain_out_of_time_cancels_and_one_without_a_report_gives_up() {
    let mut script = Script::quoting(settings(1));
    script.run(1, 0);
    script.take(Input::DrainRequested);
    while script.agent.status().running > 0 {
        script.now = script.agent.poll_timeout().unwrap();
        script.hear(Incoming::Heartbeat {
            nonce: 0,
            kind: Beat::Echo,
        });
        if script.now >= Timestamp::from_micros(1_030_000_000) {
            check(
                script.end(0, Some(FinishReason::Cancelled)),
                expect!["finished lse_1 0 Cancelled"],
            );
        }
    }
    script.after(Duration::from_secs(3));
    check(script.wake(), expect!["record 0; close in order; stop"]);
    // Without a session there is nothing to wait for.
    let mut script = Script::new(settings(1));
    check(script.take(Input::DrainRequested), expect!["stop"]);
}

#[test]
fn a_countersignature_under_another_receipt_earns_nothing() {
    let mut script = Script::quoting(settings(1));
    script.run(1, 0);
    script.tokens(0, 0, 2);
    let effects = script.end(0, Some(FinishReason::Stop));
    let mut body = final_receipt(&effects);
    body.price = Price::MIN;
    let verdict = Verdict::Countersigned {
        body,
        signatures: Box::new(Signatures {
            island: String::new(),
            exchange: String::new(),
        }),
        earned: Credits::from_nano(5),
    };
    let lease = LeaseId::new(1);
    let effects = script.hear(Incoming::ReceiptReport { lease, verdict });
    let is_untrusted = |effect: &Effect| matches!(effect, Effect::Record(earning) if matches!(earning.verdict, Some(Verdict::Untrusted { .. })));
    assert!(effects.iter().any(is_untrusted), "{effects:?}");
    assert_eq!(script.agent.status().earned_nano, 0);
    // Its second report, and one for a lease that never was, change nothing.
    for lease in [1, 99].map(LeaseId::new) {
        let verdict = Verdict::Refused { code: String::new() };
        check(
            script.hear(Incoming::ReceiptReport { lease, verdict }),
            expect!["ignore (it reports on a receipt that nobody waits for)"],
        );
    }
}
