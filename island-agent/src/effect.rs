//! What the core asks of its shell, and what the shell tells the core: plain values of the domain.
//!
//! An effect that fails comes back as an [`Input`]. No wire type, key, channel or clock is here.

use std::time::Duration;

use domain::{
    Credits, Digest, IslandId, JobId, LeaseEpoch, LeaseId, OrderId, Price, ReceiptBody, SessionId, Tier,
};

use runner::FinishReason;
use runner::sampler::Sampling;

/// One run of the runner, named by the agent: never used twice, whatever the exchange calls the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// Something that happened outside the core.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The exchange knows this Island.
    Enrolled {
        /// Its id.
        island: IslandId,
    },
    /// The exchange could not be reached, or would not enrol this Island.
    ConnectFailed {
        /// Why, for people.
        reason: String,
        /// Whether trying again can help.
        remedy: Remedy,
    },
    /// The session's stream ended.
    SessionEnded {
        /// Why, for people.
        reason: String,
    },
    /// The exchange said something.
    Received(Incoming),
    /// The runner took the job.
    RunStarted {
        /// Which run.
        run: RunId,
    },
    /// The runner did not take the job.
    RunRefused {
        /// Which run.
        run: RunId,
        /// Why, for people.
        reason: String,
    },
    /// The runner emitted ids.
    RunTokens {
        /// Which run.
        run: RunId,
        /// The index of the first in the job's whole output.
        position: u32,
        /// The ids.
        ids: Vec<u32>,
    },
    /// The runner is done with the job; `None` if it died without a word.
    RunEnded {
        /// Which run.
        run: RunId,
        /// Why.
        reason: Option<FinishReason>,
    },
    /// The owner wants the machine back: finish what runs, take nothing new.
    DrainRequested,
}

/// What helps when the exchange does not take this Island.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Time may help.
    Retry,
    /// Only the owner can help: a wrong key, for one.
    Owner,
}

/// What the exchange says, checked field by field.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// Prove who you are.
    Challenge {
        /// The bytes to sign.
        nonce: [u8; 32],
    },
    /// The session is open.
    Welcome {
        /// Its id.
        session: SessionId,
        /// How often both sides say that they are there; zero if it was not given.
        heartbeat: Duration,
    },
    /// A tier was assigned, or taken away.
    TierAssigned {
        /// For this model.
        model: String,
        /// The tier, if it may be quoted.
        tier: Option<Tier>,
        /// Output tokens a second that the exchange measured.
        decode_per_second: f64,
        /// Why, for people.
        reason: String,
    },
    /// What became of an ask.
    AskReport(AskReport),
    /// Run this.
    Assign(Box<Assignment>),
    /// Stop that.
    Revoke {
        /// The lease.
        lease: LeaseId,
        /// The attempt.
        epoch: LeaseEpoch,
        /// Why, for people.
        reason: String,
    },
    /// What became of a final receipt.
    ReceiptReport {
        /// The lease.
        lease: LeaseId,
        /// The verdict.
        verdict: Verdict,
    },
    /// Still there.
    Heartbeat {
        /// What to echo, or what was echoed.
        nonce: u64,
        /// Which of the two.
        kind: Beat,
    },
    /// The session ends.
    Goodbye {
        /// Why, for people.
        reason: String,
        /// When to come back; `None` is never.
        retry_after: Option<Duration>,
    },
    /// A message that does not convert.
    Malformed {
        /// What is wrong with it.
        problem: String,
        /// The lease it tried to assign, if that much could be read.
        assign: Option<(LeaseId, LeaseEpoch)>,
    },
}

/// Which way a heartbeat goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// It asks for an echo.
    Call,
    /// It is one.
    Echo,
}

/// What became of an ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskReport {
    /// The agent's name for it.
    pub client_order_id: String,
    /// Where it stands.
    pub status: AskStatus,
}

/// Where an ask stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskStatus {
    /// It rests or has traded, and this many jobs are left.
    Live {
        /// The order.
        order: OrderId,
        /// Jobs left.
        leaves: u32,
    },
    /// It ended.
    Ended {
        /// A stable code.
        code: String,
    },
    /// It was refused.
    Rejected {
        /// A stable code.
        code: String,
    },
    /// It stands as it stood: its cancellation was refused.
    CancelRefused {
        /// The order.
        order: OrderId,
        /// A stable code.
        code: String,
    },
}

/// A job to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The lease.
    pub lease: LeaseId,
    /// The attempt.
    pub epoch: LeaseEpoch,
    /// The job.
    pub job: JobId,
    /// The model.
    pub model: String,
    /// The execution price.
    pub price: Price,
    /// The prompt.
    pub prompt_ids: Vec<u32>,
    /// What an earlier Island emitted after it.
    pub emitted_ids: Vec<u32>,
    /// Emit at most so many more.
    pub max_tokens: u32,
    /// How to draw ids.
    pub sampling: Sampling,
    /// Ids that end the output.
    pub stop_ids: Vec<u32>,
    /// Whether it is paid.
    pub pay: Pay,
}

/// Whether a job is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pay {
    /// At the execution price.
    Paid,
    /// It is a canary: the exchange measures this Island.
    Canary,
}

/// The exchange's word on a final receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It accepted: the countersignature verified, and this is the body that it stands under.
    Countersigned {
        /// What was countersigned.
        body: Box<ReceiptBody>,
        /// What it earned, in lower-case hexadecimal, for the owner's records.
        signatures: Box<Signatures>,
        /// What the Island earned.
        earned: Credits,
    },
    /// It says that it accepted, and its signature is worth nothing.
    Untrusted {
        /// What is wrong.
        problem: String,
    },
    /// It refused.
    Refused {
        /// A stable code.
        code: String,
    },
}

/// Both signatures under a receipt, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatures {
    /// The Island's.
    pub island: String,
    /// The exchange's.
    pub exchange: String,
}

/// What the shell is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Reach the exchange and enrol.
    Connect,
    /// Open a session.
    OpenSession,
    /// Say something in the session.
    Send(Outgoing),
    /// End the session.
    CloseSession(Closing),
    /// Run a job; answered by `RunStarted` or `RunRefused`.
    StartRun {
        /// Its name.
        run: RunId,
        /// What to run.
        assignment: Box<Assignment>,
    },
    /// Stop a job soon; `RunEnded` follows.
    CancelRun {
        /// Which.
        run: RunId,
    },
    /// Write a line of the earnings log.
    Record(Box<Earning>),
    /// Tell the owner.
    Tell(Notice),
    /// The agent is done.
    Stop(Stopped),
}

/// How to end a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// What was said before still goes out.
    Orderly,
    /// At once.
    Abrupt,
}

/// Why the agent is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It was drained.
    Drained,
    /// The exchange does not want this Island, or only the owner can help.
    Unwanted {
        /// Why, for people.
        reason: String,
    },
}

/// What the agent says.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    /// Opens the session, or proves the key to whoever sent the nonce.
    Hello {
        /// The Island.
        island: IslandId,
        /// The nonce of a challenge.
        nonce: Option<[u8; 32]>,
    },
    /// Still there.
    Heartbeat {
        /// What to echo, or the echo.
        nonce: u64,
        /// Which of the two.
        kind: Beat,
    },
    /// Posts an ask, good till cancelled.
    PostAsk {
        /// The agent's name for it.
        client_order_id: String,
        /// The model.
        model: String,
        /// The price.
        price: Price,
        /// How many jobs.
        jobs: u32,
    },
    /// Cancels an ask.
    CancelAsk {
        /// The order.
        order: OrderId,
    },
    /// Took a job.
    Acknowledge {
        /// The lease.
        lease: LeaseId,
        /// The attempt.
        epoch: LeaseEpoch,
    },
    /// Will not do a job.
    Decline {
        /// The lease.
        lease: LeaseId,
        /// The attempt.
        epoch: LeaseEpoch,
        /// Why, for people.
        reason: String,
    },
    /// Emits ids.
    Output {
        /// The lease.
        lease: LeaseId,
        /// The attempt.
        epoch: LeaseEpoch,
        /// Index of the first in this lease's output.
        first_index: u32,
        /// The ids.
        ids: Vec<u32>,
    },
    /// Signs for what was emitted so far.
    Checkpoint(Box<ReceiptBody>),
    /// A job is over.
    Finished {
        /// The final receipt.
        body: Box<ReceiptBody>,
        /// Why.
        reason: FinishReason,
    },
    /// No more jobs.
    Drain,
    /// The machine is free again after a job that was revoked.
    SlotFree {
        /// The lease.
        lease: LeaseId,
    },
}

/// A line of the earnings log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earning {
    /// The model.
    pub model: String,
    /// SHA-256 of its weights.
    pub model_digest: Digest,
    /// Whether it was paid.
    pub pay: Pay,
    /// What this Island signed.
    pub body: ReceiptBody,
    /// What the exchange said, if it said anything.
    pub verdict: Option<Verdict>,
}

/// What the owner is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// Reaching for the exchange.
    Connecting,
    /// The session is open.
    Welcomed {
        /// Its id.
        session: SessionId,
    },
    /// The session, or the attempt at one, ended.
    Lost {
        /// Why.
        reason: String,
        /// When the next attempt is made.
        retry_in: Duration,
        /// Jobs that were lost with it.
        jobs_lost: usize,
    },
    /// A heartbeat of this side went out late: this machine was too busy, or asleep.
    BeatLate {
        /// By how much.
        late: Duration,
    },
    /// The exchange assigned a tier.
    TierAssigned {
        /// For this model.
        model: String,
        /// The tier, if it may be quoted.
        tier: Option<Tier>,
        /// What the exchange measured.
        decode_per_second: f64,
        /// Why.
        reason: String,
    },
    /// An ask rests in the book.
    AskRests {
        /// The model.
        model: String,
        /// The order.
        order: OrderId,
        /// The price.
        price: Price,
        /// Jobs left.
        leaves: u32,
    },
    /// An ask traded to its end; the next one follows.
    AskFilled {
        /// The model.
        model: String,
    },
    /// An ask ended otherwise.
    AskEnded {
        /// The model.
        model: String,
        /// A stable code.
        code: String,
        /// When the next one is posted.
        retry_in: Duration,
    },
    /// An ask was refused.
    AskRefused {
        /// The model.
        model: String,
        /// A stable code.
        code: String,
        /// What the owner can do.
        advice: &'static str,
        /// When the next one is posted.
        retry_in: Duration,
    },
    /// A job began.
    JobStarted {
        /// The lease.
        lease: LeaseId,
        /// The model.
        model: String,
        /// Ids to read.
        prompt_tokens: u32,
        /// Whether it is paid.
        pay: Pay,
    },
    /// A job was not taken.
    JobDeclined {
        /// The lease.
        lease: LeaseId,
        /// Why.
        reason: String,
    },
    /// A job is over.
    JobDone {
        /// The lease.
        lease: LeaseId,
        /// Why.
        reason: FinishReason,
        /// Ids that were emitted.
        output_tokens: u32,
        /// How long it took.
        took: Duration,
    },
    /// A receipt was accepted.
    Earned {
        /// The lease.
        lease: LeaseId,
        /// What it earned.
        earned: Credits,
        /// What was earned since the start.
        total: Credits,
    },
    /// A receipt was refused, or its countersignature is worth nothing.
    Unpaid {
        /// The lease.
        lease: LeaseId,
        /// A stable code, or what is wrong.
        problem: String,
    },
    /// A message was ignored.
    Ignored {
        /// Why.
        why: String,
    },
    /// No new jobs are taken.
    Draining {
        /// Jobs that still run.
        running: usize,
    },
}
