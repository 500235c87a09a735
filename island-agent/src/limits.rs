//! Every bound of the agent that is not in its configuration, with its reason.

use std::time::Duration;

/// Ids between two signed checkpoints: what an Island may lose when it vanishes.
pub const CHECKPOINT_IDS: u32 = 16;
/// The longest that emitted ids stay unsigned.
pub const CHECKPOINT_WITHIN: Duration = Duration::from_secs(1);
/// How long enrolment, the opening of a session, or one step of the handshake may take.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// A session that lived this long was a good one: the next loss starts the back-off afresh.
pub const STABLE_AFTER: Duration = Duration::from_secs(30);
/// Heartbeats of this side that may go unanswered before the session counts as lost.
pub const HEARTBEATS_MISSED_MAX: u32 = 3;
/// The heartbeat when the exchange names none.
pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(3);
/// The quickest heartbeat that is obeyed: below it the beats would be the load.
pub const HEARTBEAT_MIN: Duration = Duration::from_millis(10);
/// The slowest heartbeat that is obeyed.
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(60);
/// How long an Island that was given no tier waits until it lets itself be measured again: what kept the machine busy
/// may be over.
pub const MEASURED_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// How long an ask or its cancellation may go unanswered before it is sent again.
pub const ASK_ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The first pause after a refused ask; it doubles.
pub const ASK_RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest pause after a refused ask.
pub const ASK_RETRY_MAX: Duration = Duration::from_secs(60);
/// Ended leases that are remembered, so that a late or repeated message about them changes nothing.
pub const ENDED_LEASES_MAX: usize = 1_024;
/// Final receipts that may wait for the exchange's report.
pub const UNREPORTED_RECEIPTS_MAX: usize = 1_024;
/// How long a drain waits for the reports on the last receipts.
pub const LAST_REPORTS_WITHIN: Duration = Duration::from_secs(3);
/// How long jobs have to stop once a drain has run out of time.
pub const STOP_WITHIN: Duration = Duration::from_secs(2);
/// The largest message from the exchange: a prompt of half a million ids fits.
pub const MESSAGE_SIZE_MAX: usize = 4 << 20;
/// Messages to the exchange that may wait; beyond it the runners wait.
pub const OUTBOX_MAX: usize = 256;
/// Events of one job that its runner may be ahead of the session.
pub const JOB_EVENTS_MAX: usize = 64;
/// Batches of job events that may wait for the session.
pub const JOB_BATCHES_MAX: usize = 64;
/// How long what was queued may take to leave when a session is closed in order.
pub const FLUSH_WITHIN: Duration = Duration::from_secs(2);
/// The size at which the earnings log starts a new file.
pub const EARNINGS_FILE_SIZE_MAX: u64 = 8 << 20;
/// Full earnings files that are kept; the oldest goes first.
pub const EARNINGS_FILES_MAX: u32 = 8;
/// The most characters of a stranger's text that are logged.
pub const FOREIGN_TEXT_MAX: usize = 200;
/// Models that one Island may offer.
pub const MODELS_MAX: usize = 64;
/// Jobs that one Island may run at once.
pub const SLOTS_MAX: u32 = 1_024;
