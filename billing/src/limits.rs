//! Every bound of the service that is no configuration, with its reason.

use std::time::Duration;

use domain::Credits;

/// The most transfers in one transaction: measured, 256 a sync are 90 times what single ones reach, and beyond that
/// the gain no longer pays for the wait (docs/architecture.md).
pub const BATCH_TRANSFERS_MAX: usize = 256;

/// How long a batch waits for company, once calls come at the same time. A lone caller does not wait.
pub const BATCH_WAIT: Duration = Duration::from_millis(2);

/// The most calls that wait for the writer; the next is told to come again.
pub const QUEUE_MAX: usize = 4_096;

/// How many connections answer questions while the one writer writes.
pub const READERS: u32 = 4;

/// How long a statement waits for a lock that another process holds.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);

/// How long a commit waits for the one connection that writes.
pub const WRITER_WAIT: Duration = Duration::from_secs(60);

/// How long a question waits for a reader.
pub const READER_WAIT: Duration = Duration::from_secs(10);

/// The most findings of an audit that are told.
pub const FINDINGS_MAX: usize = 100;

/// The most keys that an owner may ever make: a new one every day for a quarter of a century, and a list of them all still
/// fits a message.
pub const KEYS_PER_OWNER_MAX: u32 = 10_000;

/// The most owners whose earnings mature in one step.
pub const MATURING_OWNERS_MAX: u32 = 256;

/// How often billing looks for a day that is over.
pub const CLOSING_INTERVAL: Duration = Duration::from_secs(600);

/// How long after midnight a day is closed: far longer than a batch takes that got its time before.
pub const CLOSING_GRACE: Duration = Duration::from_secs(300);

/// The most closed days that are read at once.
pub const DAYS_PAGE_MAX: u32 = 1_000;

/// The page of a shard's reservations and of what its accounts hold, both default and most.
pub const RESERVATIONS_PAGE_MAX: u32 = 1_000;

/// The page of what was spent with a key, both default and most.
pub const SPENDING_PAGE_MAX: u32 = 1_000;

/// The default page of an owner's history.
pub const HISTORY_PAGE: u32 = 50;

/// The largest page of an owner's history.
pub const HISTORY_PAGE_MAX: u32 = 1_000;

/// The largest request: a full batch of settlements is a quarter of it.
pub const MESSAGE_SIZE_MAX: usize = 4 << 20;

/// How long calls that are being answered may go on after a stop was asked for. A write takes milliseconds; only an audit
/// of large books takes longer, and it can be asked for again.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// The smallest payout, 10 credits: below it a provider's own cost would eat what is sent.
pub const PAYOUT_MIN: Credits = Credits::from_nano(10 * domain::NANO_PER_CREDIT);

/// The longest destination of a payout, in characters.
pub const DESTINATION_LENGTH_MAX: usize = 100;

/// The default page of sums over settlements.
pub const USAGE_PAGE: u32 = 100;

/// The largest page of sums over settlements.
pub const USAGE_PAGE_MAX: u32 = 1_000;

/// The longest span that is summed up at once: a year.
pub const USAGE_SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// The default page of payouts.
pub const PAYOUTS_PAGE: u32 = 50;

/// The largest page of payouts, and the most that are sent or made in one step of the run.
pub const PAYOUTS_PAGE_MAX: u32 = 1_000;

/// How long the provider may take to answer; what he answers later, he answers again when he is asked again.
pub const PROVIDER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long after an attempt without an answer the provider is asked again; doubled after each.
pub const PAYOUT_RETRY_FIRST: Duration = Duration::from_secs(60);

/// The longest pause between two attempts: six hours, so that a provider who comes back is noticed the same day.
pub const PAYOUT_RETRY_MAX: Duration = Duration::from_secs(6 * 3_600);

/// A statement has fewer lines than this, and counts fewer settlements, so that it fits a message: what is more has to be
/// asked for in parts.
pub const STATEMENT_LINES_MAX: u32 = 5_000;

/// The most owners whose turn in a reset comes in one step.
pub const RESET_OWNERS_MAX: u32 = 64;

/// How far ahead a reset may be announced: a year. Beyond it the moment is a mistake.
pub const RESET_AHEAD_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

/// The largest starter grant and the largest bonus of a reset: a million credits each. More is a mistake.
pub const RESET_GRANT_MAX: Credits = Credits::from_nano(1_000_000 * domain::NANO_PER_CREDIT);

/// The most leases of a job that are refunded at once: a job fails over twice at most, and a journal holds the legs of four.
pub const LEASES_OF_JOB_MAX: u32 = 4;
