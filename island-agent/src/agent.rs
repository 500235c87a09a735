//! The agent's core: every decision of an Island's program, without I/O.
//!
//! It takes [`Input`]s with the time, and yields [`Effect`]s that its shell carries out in order;
//! [`Agent::poll_timeout`] says when it wants to be woken. It reads no clock, file, socket or random source:
//! jitter is a function of a seed. Invariants:
//! - outside a session nothing is sent; before `Welcome` only `Hello`;
//! - a lost session takes its asks and jobs with it, and the agent comes back until it is drained or unwanted;
//! - a drained agent takes no job, posts no ask, and stops when what ran is reported or time is up.
//!
//! Deliberately absent: bytes on the wire, signatures, tokens' meaning.

mod asks;
mod backoff;
mod runs;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use domain::{Credits, IslandId, LeaseId, SessionId, Timestamp};

pub use asks::AskRule;
pub use backoff::BackoffRule;
pub use runs::OfferedModel;

use asks::{Asks, Circumstances};
use backoff::Backoff;
use runs::{Done, Door, Runs};

use crate::effect::{
    Beat, Closing, Earning, Effect, Incoming, Input, Notice, Outgoing, Remedy, Stopped, Verdict,
};
use crate::limits::{
    HANDSHAKE_WITHIN, HEARTBEAT_DEFAULT, HEARTBEAT_MAX, HEARTBEAT_MIN, HEARTBEATS_MISSED_MAX,
    LAST_REPORTS_WITHIN, MEASURED_AGAIN_AFTER, STABLE_AFTER, STOP_WITHIN, UNREPORTED_RECEIPTS_MAX,
};
use crate::status::{AskSummary, ModelStatus, Phase, Status};

/// What an agent is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The region it declares.
    pub region: String,
    /// What it runs.
    pub models: Vec<OfferedModel>,
    /// Jobs that it runs at once.
    pub slots: u32,
    /// How it asks.
    pub asks: AskRule,
    /// How it comes back.
    pub reconnect: BackoffRule,
    /// How long a drain may take.
    pub drain_within: Duration,
    /// What jitter is drawn from.
    pub seed: u64,
}

/// An Island's program, without its hands.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    link: Link,
    island: Option<IslandId>,
    backoff: Backoff,
    asks: Asks,
    runs: Runs,
    unreported: BTreeMap<LeaseId, Done>,
    drain: Option<Drain>,
    /// Whether the exchange has ever opened a session: then it is not this Island that is at fault.
    was_welcomed: bool,
    jobs_done: u64,
    earned: Credits,
    effects: VecDeque<Effect>,
}

#[derive(Clone, Debug)]
enum Link {
    BackingOff { until: Timestamp },
    Connecting,
    Opening { by: Timestamp },
    Proving { by: Timestamp },
    Open(Session),
    Stopped,
}

#[derive(Clone, Debug)]
struct Session {
    id: SessionId,
    opened_at: Timestamp,
    heartbeat: Duration,
    next_beat_at: Timestamp,
    beats: u64,
    /// Beats of this side since anything was heard. Silence is counted in them and not in time, so that a machine
    /// that was too busy, or asleep, listens before it gives up.
    unanswered: u32,
    /// Set while no model has a tier: when to begin anew, and so be measured again.
    again_at: Option<Timestamp>,
}

/// A drain: first jobs run out, then they are cancelled, then the last reports are waited for.
#[derive(Clone, Copy, Debug)]
struct Drain {
    /// Unset once jobs were cancelled.
    cancel_at: Option<Timestamp>,
    stop_at: Timestamp,
    /// Set when the last job ended.
    reports_by: Option<Timestamp>,
}

impl Agent {
    /// An agent that wants to connect at once.
    #[must_use]
    pub fn new(settings: Settings, now: Timestamp) -> Self {
        let models = settings.models.iter().map(|model| model.model.clone());
        Self {
            link: Link::BackingOff { until: now },
            island: None,
            backoff: Backoff::new(settings.reconnect, settings.seed),
            asks: Asks::new(settings.asks.clone(), models, settings.seed.wrapping_add(1)),
            runs: Runs::new(settings.models.clone(), settings.slots),
            unreported: BTreeMap::new(),
            drain: None,
            was_welcomed: false,
            jobs_done: 0,
            earned: Credits::ZERO,
            effects: VecDeque::new(),
            settings,
        }
    }

    /// Takes in what happened. Effects wait in [`Agent::next_effect`].
    pub fn handle(&mut self, input: Input, now: Timestamp) {
        if matches!(self.link, Link::Stopped) {
            return;
        }
        match input {
            Input::Enrolled { island } => self.enrolled(island, now),
            Input::ConnectFailed { reason, remedy } => self.connect_failed(reason, remedy, now),
            Input::SessionEnded { reason } => self.lose_session(reason, None, now),
            Input::Received(incoming) => self.received(incoming, now),
            Input::DrainRequested => self.begin_drain(now),
            Input::RunStarted { run } => self.runs.started(run, &mut |e| self.effects.push_back(e)),
            Input::RunRefused { run, reason } => {
                self.runs.refused(run, reason, &mut |e| self.effects.push_back(e));
            }
            Input::RunTokens { run, position, ids } => {
                let effects = &mut self.effects;
                self.runs
                    .emitted(run, position, &ids, now, &mut |e| effects.push_back(e));
            }
            Input::RunEnded { run, reason } => {
                let effects = &mut self.effects;
                let done = self.runs.ended(run, reason, now, &mut |e| effects.push_back(e));
                if let Some(done) = done {
                    self.jobs_done = self.jobs_done.saturating_add(1);
                    self.await_report(done);
                }
            }
        }
        self.advance(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        match &self.link {
            Link::BackingOff { until } if *until <= now => {
                self.link = Link::Connecting;
                self.tell(Notice::Connecting);
                self.effects.push_back(Effect::Connect);
            }
            Link::Opening { by } | Link::Proving { by } if *by <= now => {
                self.abandon("the exchange did not open the session in time", now);
            }
            Link::Open(session) if session.is_silent(now) => {
                self.abandon("the exchange fell silent", now);
            }
            Link::Open(session) if session.again_at.is_some_and(|at| at <= now) => {
                self.abandon("no model was given a tier; this machine is measured again", now);
            }
            Link::BackingOff { .. }
            | Link::Connecting
            | Link::Opening { .. }
            | Link::Proving { .. }
            | Link::Open(_)
            | Link::Stopped => {}
        }
        self.advance(now);
    }

    /// When [`Agent::handle_timeout`] wants to be called; `None` is never.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let link = match &self.link {
            Link::BackingOff { until } => Some(*until),
            Link::Opening { by } | Link::Proving { by } => Some(*by),
            Link::Open(session) => [Some(session.next_beat_at), session.again_at]
                .into_iter()
                .flatten()
                .min(),
            Link::Connecting | Link::Stopped => None,
        };
        let is_open = matches!(self.link, Link::Open(_));
        let asks = (is_open && self.drain.is_none())
            .then(|| self.asks.next_deadline(self.runs.busy()))
            .flatten();
        let runs = is_open.then(|| self.runs.next_deadline()).flatten();
        let drain = self
            .drain
            .filter(|_| !matches!(self.link, Link::Stopped))
            .map(|drain| drain.next_deadline(self.runs.is_idle()));
        [link, asks, runs, drain].into_iter().flatten().min()
    }

    /// The next effect to carry out, in order.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// What the Island is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let models: Vec<ModelStatus> = self.asks.views().map(ModelStatus::from).collect();
        let quotes = models.iter().any(|model| model.ask.is_some());
        let phase = match &self.link {
            Link::Stopped => Phase::Stopped,
            Link::Open(_) if self.drain.is_some() => Phase::Draining,
            Link::BackingOff { .. } => Phase::BackingOff,
            Link::Connecting => Phase::Connecting,
            Link::Opening { .. } | Link::Proving { .. } => Phase::Handshaking,
            Link::Open(_) if quotes => Phase::Quoting,
            Link::Open(_) => Phase::Welcomed,
        };
        Status {
            phase,
            island: self.island.map(|island| island.to_string()),
            region: self.settings.region.clone(),
            models,
            running: self.runs.busy(),
            slots: self.settings.slots,
            jobs_done: self.jobs_done,
            earned_nano: self.earned.as_nano(),
        }
    }

    fn enrolled(&mut self, island: IslandId, now: Timestamp) {
        if !matches!(self.link, Link::Connecting) {
            return;
        }
        self.island = Some(island);
        self.link = Link::Opening {
            by: now.after(HANDSHAKE_WITHIN),
        };
        self.effects.push_back(Effect::OpenSession);
        self.send(Outgoing::Hello { island, nonce: None });
    }

    fn connect_failed(&mut self, reason: String, remedy: Remedy, now: Timestamp) {
        if !matches!(self.link, Link::Connecting) {
            return;
        }
        // Once it was let in, an Island does not give up: the other side may be the one in trouble.
        if remedy == Remedy::Owner && self.island.is_none() {
            return self.stop(Stopped::Unwanted { reason });
        }
        self.lose_session(reason, None, now);
    }

    fn received(&mut self, incoming: Incoming, now: Timestamp) {
        match self.link {
            Link::Opening { .. } | Link::Proving { .. } => self.received_in_handshake(incoming, now),
            Link::Open(_) => self.received_in_session(incoming, now),
            Link::BackingOff { .. } | Link::Connecting | Link::Stopped => {}
        }
    }

    fn received_in_handshake(&mut self, incoming: Incoming, now: Timestamp) {
        let is_first = matches!(self.link, Link::Opening { .. });
        match incoming {
            Incoming::Challenge { nonce } if is_first => {
                let Some(island) = self.island else { return };
                self.link = Link::Proving {
                    by: now.after(HANDSHAKE_WITHIN),
                };
                self.send(Outgoing::Hello {
                    island,
                    nonce: Some(nonce),
                });
            }
            Incoming::Challenge { .. } => {
                self.abandon("the exchange did not accept the proof of this Island's key", now);
            }
            Incoming::Welcome { session, heartbeat } => {
                self.was_welcomed = true;
                self.link = Link::Open(Session::open(session, heartbeat, now));
                self.tell(Notice::Welcomed { session });
            }
            Incoming::Goodbye { reason, retry_after } => self.goodbye(reason, retry_after, now),
            Incoming::Malformed { problem, .. } => {
                self.abandon(&format!("the exchange broke the protocol: {problem}"), now);
            }
            Incoming::Heartbeat { .. }
            | Incoming::TierAssigned { .. }
            | Incoming::AskReport(_)
            | Incoming::Assign(_)
            | Incoming::Revoke { .. }
            | Incoming::ReceiptReport { .. } => self.ignore("it came before the session was open"),
        }
    }

    fn received_in_session(&mut self, incoming: Incoming, now: Timestamp) {
        if let Link::Open(session) = &mut self.link {
            session.unanswered = 0;
        }
        match incoming {
            Incoming::Challenge { .. } | Incoming::Welcome { .. } => {
                self.ignore("the session is open already");
            }
            Incoming::TierAssigned {
                model,
                tier,
                decode_per_second,
                reason,
            } => {
                if !self.asks.assign(&model, tier, &reason) {
                    return self.ignore("it assigns a tier for a model that is not offered");
                }
                // What still runs, or is being drained, is not given up for a measurement.
                let is_free = self.runs.busy() == 0 && self.drain.is_none();
                if let Link::Open(session) = &mut self.link {
                    let hopeless = is_free && self.asks.are_hopeless();
                    session.again_at = hopeless.then(|| now.after(MEASURED_AGAIN_AFTER));
                }
                self.tell(Notice::TierAssigned {
                    model,
                    tier,
                    decode_per_second,
                    reason,
                });
            }
            Incoming::AskReport(report) => {
                self.asks.report(report, now, &mut |e| self.effects.push_back(e));
            }
            Incoming::Assign(assignment) => {
                let door = self.drain.map_or(Door::Open, |_| Door::Draining);
                let effects = &mut self.effects;
                self.runs
                    .assign(assignment, door, now, &mut |e| effects.push_back(e));
            }
            Incoming::Revoke { lease, epoch, .. } => {
                self.runs.revoke(lease, epoch, &mut |e| self.effects.push_back(e));
            }
            Incoming::ReceiptReport { lease, verdict } => self.reported(lease, verdict),
            Incoming::Heartbeat {
                nonce,
                kind: Beat::Call,
            } => self.send(Outgoing::Heartbeat {
                nonce,
                kind: Beat::Echo,
            }),
            Incoming::Heartbeat { kind: Beat::Echo, .. } => {}
            Incoming::Goodbye { reason, retry_after } => self.goodbye(reason, retry_after, now),
            Incoming::Malformed { problem, assign } => {
                if let Some((lease, epoch)) = assign {
                    let reason = format!("the assignment is malformed: {problem}");
                    self.send(Outgoing::Decline { lease, epoch, reason });
                }
                self.ignore(&problem);
            }
        }
    }

    fn goodbye(&mut self, reason: String, retry_after: Option<Duration>, now: Timestamp) {
        // An Island that was let in before is not turned away for good by a handshake that went wrong.
        let is_final = matches!(self.link, Link::Open(_)) || !self.was_welcomed;
        if retry_after.is_none() && is_final {
            return self.stop(Stopped::Unwanted { reason });
        }
        self.effects.push_back(Effect::CloseSession(Closing::Abrupt));
        self.lose_session(reason, retry_after, now);
    }

    fn reported(&mut self, lease: LeaseId, verdict: Verdict) {
        // A lease that was settled before its end is paid by a checkpoint.
        let waiting = self.unreported.remove(&lease);
        let Some(mut done) = waiting.or_else(|| self.runs.settled_early(lease)) else {
            return self.ignore("it reports on a receipt that nobody waits for");
        };
        let verdict = match verdict {
            Verdict::Countersigned { ref body, .. } if !done.covers(body) => Verdict::Untrusted {
                problem: "another receipt than this Island's was countersigned".to_owned(),
            },
            Verdict::Countersigned { .. } | Verdict::Untrusted { .. } | Verdict::Refused { .. } => verdict,
        };
        if let Verdict::Countersigned { body, .. } = &verdict {
            done.body = **body;
        }
        match &verdict {
            Verdict::Countersigned { earned, .. } => {
                self.earned = self.earned.checked_add(*earned).unwrap_or(self.earned);
                self.tell(Notice::Earned {
                    lease,
                    earned: *earned,
                    total: self.earned,
                });
            }
            Verdict::Untrusted { problem } | Verdict::Refused { code: problem } => {
                self.tell(Notice::Unpaid {
                    lease,
                    problem: problem.clone(),
                });
            }
        }
        self.record(done, Some(verdict));
    }

    fn await_report(&mut self, done: Done) {
        if self.unreported.len() >= UNREPORTED_RECEIPTS_MAX
            && let Some((_, oldest)) = self.unreported.pop_first()
        {
            self.record(oldest, None);
        }
        if let Some(replaced) = self.unreported.insert(done.body.lease, done) {
            self.record(replaced, None);
        }
    }

    fn record(&mut self, done: Done, verdict: Option<Verdict>) {
        self.effects.push_back(Effect::Record(Box::new(Earning {
            model: done.model.model,
            model_digest: done.model.digest,
            pay: done.pay,
            body: done.body,
            verdict,
        })));
    }

    /// Ends the session from this side, and comes back.
    fn abandon(&mut self, reason: &str, now: Timestamp) {
        self.effects.push_back(Effect::CloseSession(Closing::Abrupt));
        self.lose_session(reason.to_owned(), None, now);
    }

    fn lose_session(&mut self, reason: String, retry_after: Option<Duration>, now: Timestamp) {
        if let Link::Open(session) = &self.link
            && now.since(session.opened_at) >= STABLE_AFTER
        {
            self.backoff.reset();
        }
        let retry_in = match retry_after {
            Some(least) => self.backoff.after(least),
            None => self.backoff.fail(),
        };
        let jobs_lost = self.forget_session();
        self.link = Link::BackingOff {
            until: now.after(retry_in),
        };
        self.tell(Notice::Lost {
            reason,
            retry_in,
            jobs_lost,
        });
    }

    fn forget_session(&mut self) -> usize {
        self.asks.forget();
        for (_, done) in std::mem::take(&mut self.unreported) {
            self.record(done, None);
        }
        self.runs.orphan_all(&mut |e| self.effects.push_back(e))
    }

    fn begin_drain(&mut self, now: Timestamp) {
        if self.drain.is_some() {
            return;
        }
        let cancel_at = now.after(self.settings.drain_within);
        if let Link::Open(session) = &mut self.link {
            session.again_at = None;
        }
        self.drain = Some(Drain {
            cancel_at: Some(cancel_at),
            stop_at: cancel_at.after(STOP_WITHIN),
            reports_by: None,
        });
        if matches!(self.link, Link::Open(_)) {
            self.send(Outgoing::Drain);
            let running = usize::try_from(self.runs.busy()).unwrap_or(usize::MAX);
            self.tell(Notice::Draining { running });
        }
    }

    /// Does everything that follows from the state and the time.
    fn advance(&mut self, now: Timestamp) {
        if self.drain.is_some() {
            self.advance_drain(now);
        }
        let Link::Open(session) = &mut self.link else {
            return;
        };
        let session_id = session.id;
        if session.next_beat_at <= now {
            let late = session.late(now);
            let nonce = session.beat(now);
            if let Some(late) = late {
                self.effects.push_back(Effect::Tell(Notice::BeatLate { late }));
            }
            self.effects.push_back(Effect::Send(Outgoing::Heartbeat {
                nonce,
                kind: Beat::Call,
            }));
        }
        let effects = &mut self.effects;
        self.runs.checkpoint(now, &mut |e| effects.push_back(e));
        if self.drain.is_none() {
            let at = Circumstances {
                session: session_id,
                busy: self.runs.busy(),
                now,
            };
            self.asks.advance(at, &mut |e| effects.push_back(e));
        }
    }

    fn advance_drain(&mut self, now: Timestamp) {
        let Some(drain) = &mut self.drain else { return };
        let is_idle = self.runs.is_idle();
        if is_idle {
            let last = now.after(LAST_REPORTS_WITHIN).min(drain.stop_at);
            drain.reports_by.get_or_insert(last);
        }
        let drain = *drain;
        let is_over = match &self.link {
            Link::Stopped => return,
            Link::Open(_) => {
                let is_reported = !self.unreported.values().any(Done::is_owed_a_report);
                let reported = is_reported || drain.reports_by.is_some_and(|by| by <= now);
                (is_idle && reported) || drain.stop_at <= now
            }
            // Without a session there is nothing to finish.
            Link::BackingOff { .. } | Link::Connecting | Link::Opening { .. } | Link::Proving { .. } => true,
        };
        if is_over {
            self.stop(Stopped::Drained);
        } else if drain.cancel_at.is_some_and(|at| at <= now) {
            if let Some(drain) = &mut self.drain {
                drain.cancel_at = None;
            }
            self.runs.cancel_all(&mut |e| self.effects.push_back(e));
        }
    }

    fn stop(&mut self, stopped: Stopped) {
        let closing = match &self.link {
            Link::Open(_) => Some(Closing::Orderly),
            Link::Opening { .. } | Link::Proving { .. } => Some(Closing::Abrupt),
            Link::BackingOff { .. } | Link::Connecting | Link::Stopped => None,
        };
        self.forget_session();
        if let Some(closing) = closing {
            self.effects.push_back(Effect::CloseSession(closing));
        }
        self.link = Link::Stopped;
        self.effects.push_back(Effect::Stop(stopped));
    }

    fn send(&mut self, outgoing: Outgoing) {
        self.effects.push_back(Effect::Send(outgoing));
    }

    fn tell(&mut self, notice: Notice) {
        self.effects.push_back(Effect::Tell(notice));
    }

    fn ignore(&mut self, why: &str) {
        self.tell(Notice::Ignored { why: why.to_owned() });
    }
}

impl Session {
    fn open(id: SessionId, heartbeat: Duration, now: Timestamp) -> Self {
        let heartbeat = if heartbeat.is_zero() {
            HEARTBEAT_DEFAULT
        } else {
            heartbeat.clamp(HEARTBEAT_MIN, HEARTBEAT_MAX)
        };
        Self {
            id,
            opened_at: now,
            heartbeat,
            next_beat_at: now.after(heartbeat),
            beats: 0,
            unanswered: 0,
            again_at: None,
        }
    }

    /// Whether the exchange counts as gone: a beat is due and the last ones went unanswered.
    fn is_silent(&self, now: Timestamp) -> bool {
        self.next_beat_at <= now && self.unanswered >= HEARTBEATS_MISSED_MAX
    }

    /// By how much a beat that is due is late, if that is a whole beat or more.
    fn late(&self, now: Timestamp) -> Option<Duration> {
        let late = now.since(self.next_beat_at);
        (late >= self.heartbeat).then_some(late)
    }

    fn beat(&mut self, now: Timestamp) -> u64 {
        self.next_beat_at = now.after(self.heartbeat);
        self.unanswered = self.unanswered.saturating_add(1);
        self.beats = self.beats.saturating_add(1);
        self.beats
    }
}

impl Drain {
    fn next_deadline(&self, is_idle: bool) -> Timestamp {
        match self.reports_by {
            Some(by) if is_idle => by,
            Some(_) | None => self.cancel_at.unwrap_or(self.stop_at),
        }
    }
}

impl From<asks::AskView<'_>> for ModelStatus {
    fn from(view: asks::AskView<'_>) -> Self {
        Self {
            model: view.model.to_owned(),
            tier: view.tier.map(|tier| tier.to_string()),
            no_tier: view.no_tier.map(str::to_owned),
            ask: view.resting.map(|(order, price, leaves)| AskSummary {
                order: order.to_string(),
                price: price.to_string(),
                leaves,
            }),
        }
    }
}
