//! A session's reports: numbered without a gap, kept until the client has received them, and bounded in number and in
//! bytes, for one may be a word and another a page.
//!
//! Invariants:
//! - sequences count from 1, and what is read follows on what was read before;
//! - while somebody reads, a report that he has not been sent is never dropped: he is told that he is too slow long
//!   before ([`ReportLog::is_overrun`]), and one who keeps the room of others is disconnected first;
//! - what was dropped is never passed over in silence: reading there is refused ([`Gone`]).

use std::collections::VecDeque;
use std::sync::Arc;

use prost::Message;
use proto::exchange::v1::Report;

use super::report_room::ReportRoom;

/// Reports that are kept for a client who has not said that he received them: some seconds of a busy market maker, at
/// about 300 bytes each.
pub(super) const REPORTS_KEPT_MAX: usize = 16_384;

/// Bytes of them: enough for as many reports without words, and a bound for those that carry pages.
const BYTES_KEPT_MAX: usize = 16 << 20;

/// What may wait to be sent. A reader who is further behind does not read.
pub(super) const UNSENT_MAX: Backlog = Backlog {
    reports: 8_192,
    bytes: 8 << 20,
};

/// Beyond it no commands are read: they would only bring more.
pub(super) const COMMANDS_WAIT_AT: Backlog = Backlog {
    reports: 4_096,
    bytes: 4 << 20,
};

/// Beyond it no output is read from jobs: it waits further back, where it is joined and bounded.
pub(super) const OUTPUT_WAITS_AT: Backlog = Backlog {
    reports: 512,
    bytes: 512 << 10,
};

/// Bytes that are handed out at once, unless one report is larger: what the least of clients takes as one message.
const BYTES_PER_TAKE_MAX: usize = 256 << 10;

/// How much waits to be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backlog {
    pub(super) reports: u64,
    pub(super) bytes: usize,
}

impl Backlog {
    /// Whether it has come to either bound.
    pub(super) const fn reaches(self, bound: Self) -> bool {
        self.reports >= bound.reports || self.bytes >= bound.bytes
    }

    /// Whether it is beyond either bound.
    const fn exceeds(self, bound: Self) -> bool {
        self.reports > bound.reports || self.bytes > bound.bytes
    }
}

/// Reports from a sequence on are not kept any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    /// The first that is.
    pub(super) first_kept: u64,
    /// Whether that is for want of room for the reports of all sessions.
    pub(super) gave_way: bool,
}

/// The sequence was never given to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NeverSent;

/// A report, and what it costs to keep.
#[derive(Debug)]
struct Kept {
    report: Report,
    bytes: usize,
}

impl Kept {
    fn new(report: Report) -> Self {
        let bytes = size_of::<Self>().saturating_add(report.encoded_len());
        Self { report, bytes }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct ReportLog {
    /// Where it counts what it keeps.
    room: Arc<ReportRoom>,
    kept: VecDeque<Kept>,
    /// Of all that are kept.
    bytes: usize,
    /// Of those that were not handed out yet.
    unsent_bytes: usize,
    /// The sequence of the next report.
    next: u64,
    /// The sequence of the first report that was not handed out yet.
    unsent: u64,
    /// The last report that was dropped for want of room for all sessions.
    gave_way_through: u64,
    /// The first report that was dropped before it was handed out, unless reading began anew since.
    unsent_dropped: Option<u64>,
}

impl Drop for ReportLog {
    fn drop(&mut self) {
        self.room.remove(self.bytes);
    }
}

impl ReportLog {
    /// An empty log, which counts what it keeps in `room`.
    pub(super) fn new(room: Arc<ReportRoom>) -> Self {
        Self {
            room,
            kept: VecDeque::new(),
            bytes: 0,
            unsent_bytes: 0,
            next: 1,
            unsent: 1,
            gave_way_through: 0,
            unsent_dropped: None,
        }
    }

    /// Numbers a report and keeps it.
    pub(super) fn push(&mut self, mut report: Report) {
        report.sequence = self.next;
        self.next = self.next.saturating_add(1);
        let kept = Kept::new(report);
        self.room.add(kept.bytes);
        self.bytes = self.bytes.saturating_add(kept.bytes);
        self.unsent_bytes = self.unsent_bytes.saturating_add(kept.bytes);
        self.kept.push_back(kept);
        // The newest is kept, however large it is.
        while self.kept.len() > 1 && (self.kept.len() > REPORTS_KEPT_MAX || self.bytes > BYTES_KEPT_MAX) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some(first) = self.kept.pop_front() else {
            return;
        };
        self.room.remove(first.bytes);
        self.bytes = self.bytes.saturating_sub(first.bytes);
        if first.report.sequence >= self.unsent {
            self.unsent_dropped.get_or_insert(first.report.sequence);
            self.unsent = first.report.sequence.saturating_add(1);
            self.unsent_bytes = self.unsent_bytes.saturating_sub(first.bytes);
        }
    }

    /// Drops what was handed out already, for others need the room; returns whether that was something.
    pub(super) fn drop_sent(&mut self) -> bool {
        let count = self.sent_count();
        self.give_way(count)
    }

    /// Drops all, for others need the room.
    pub(super) fn drop_all(&mut self) {
        self.give_way(self.kept.len());
    }

    fn give_way(&mut self, count: usize) -> bool {
        for _ in 0..count {
            self.forget_first();
        }
        if count > 0 {
            self.gave_way_through = self.first_kept().saturating_sub(1);
        }
        count > 0
    }

    /// What all that is kept takes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The sequence of the first report that is kept; that of the next one if none is.
    fn first_kept(&self) -> u64 {
        self.kept.front().map_or(self.next, |kept| kept.report.sequence)
    }

    /// The sequence of the report that follows on what was handed out, whether it is kept or not.
    pub(super) fn resume_at(&self) -> u64 {
        self.unsent_dropped.unwrap_or(self.unsent)
    }

    /// How much waits to be handed out.
    pub(super) const fn backlog(&self) -> Backlog {
        Backlog {
            reports: self.next.saturating_sub(self.unsent),
            bytes: self.unsent_bytes,
        }
    }

    /// Whether so much waits that whoever reads does not read.
    pub(super) const fn is_overrun(&self) -> bool {
        self.backlog().exceeds(UNSENT_MAX)
    }

    /// Hands out from `sequence` on.
    pub(super) fn rewind(&mut self, sequence: u64) -> Result<(), RewindError> {
        if sequence == 0 || sequence > self.next {
            return Err(RewindError::NeverSent);
        }
        if sequence < self.first_kept() {
            return Err(RewindError::Gone(Gone {
                first_kept: self.first_kept(),
                gave_way: sequence <= self.gave_way_through,
            }));
        }
        self.unsent = sequence;
        self.unsent_dropped = None;
        self.unsent_bytes = self.kept.range(self.sent_count()..).map(|kept| kept.bytes).sum();
        Ok(())
    }

    /// How many of those that are kept were handed out.
    fn sent_count(&self) -> usize {
        let sent = self.unsent.saturating_sub(self.first_kept());
        usize::try_from(sent).unwrap_or(usize::MAX).min(self.kept.len())
    }

    /// Hands out up to `count` reports, and no more than a message should carry. They stay, for they may not arrive.
    pub(super) fn take(&mut self, count: usize) -> Vec<Report> {
        let (mut reports, mut bytes) = (Vec::new(), 0_usize);
        for kept in self.kept.range(self.sent_count()..).take(count) {
            bytes = bytes.saturating_add(kept.bytes);
            if bytes > BYTES_PER_TAKE_MAX && !reports.is_empty() {
                break;
            }
            self.unsent = self.unsent.saturating_add(1);
            self.unsent_bytes = self.unsent_bytes.saturating_sub(kept.bytes);
            reports.push(kept.report.clone());
        }
        reports
    }

    /// Forgets what the client has received.
    pub(super) fn received(&mut self, through: u64) -> Result<(), NeverSent> {
        if through >= self.unsent {
            return Err(NeverSent);
        }
        while self
            .kept
            .front()
            .is_some_and(|kept| kept.report.sequence <= through)
        {
            self.forget_first();
        }
        Ok(())
    }
}

/// Why reading cannot begin at a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RewindError {
    Gone(Gone),
    NeverSent,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences(reports: &[Report]) -> Vec<u64> {
        reports.iter().map(|report| report.sequence).collect()
    }

    fn log() -> ReportLog {
        ReportLog::new(Arc::new(ReportRoom::new(usize::MAX)))
    }

    fn log_of(count: usize) -> ReportLog {
        let mut log = log();
        for _ in 0..count {
            log.push(Report::default());
        }
        log
    }

    #[test]
    fn reports_are_numbered_from_one_and_handed_out_once() {
        let mut log = log_of(3);
        assert_eq!(sequences(&log.take(2)), [1, 2]);
        assert_eq!(log.backlog().reports, 1);
        assert_eq!(sequences(&log.take(9)), [3]);
        assert!(log.take(9).is_empty());
        let nothing = Backlog { reports: 0, bytes: 0 };
        assert_eq!(log.backlog(), nothing);
    }

    /// A report with so many bytes of words in it.
    fn page(size: usize) -> Report {
        let text = "x".repeat(size);
        let output = proto::exchange::v1::Output {
            text,
            ..proto::exchange::v1::Output::default()
        };
        Report {
            report: Some(proto::exchange::v1::report::Report::Output(output)),
            ..Report::default()
        }
    }

    #[test]
    fn pages_are_bounded_by_their_bytes_and_the_gap_is_told() {
        let mut log = log();
        let size = 1 << 20;
        for _ in 0..8 {
            assert!(!log.is_overrun());
            log.push(page(size));
        }
        assert!(log.is_overrun(), "8 MiB and what keeping them costs");
        assert!(log.backlog().reaches(COMMANDS_WAIT_AT));
        for _ in 0..24 {
            log.push(page(size));
        }
        assert!(log.bytes <= BYTES_KEPT_MAX);
        assert_eq!(log.kept.len(), 15);
        assert_eq!(
            log.rewind(17),
            Err(RewindError::Gone(Gone {
                first_kept: 18,
                gave_way: false
            }))
        );
        assert_eq!(log.rewind(18), Ok(()));
        assert_eq!(log.backlog().bytes, log.bytes);
        assert_eq!(
            sequences(&log.take(9)),
            [18],
            "one that is larger than a message should be goes alone"
        );
        assert_eq!(log.received(18), Ok(()));
        assert_eq!(log.backlog().bytes, log.bytes);
        log.push(page(BYTES_KEPT_MAX));
        assert_eq!(log.kept.len(), 1, "the newest is kept, however large it is");
    }

    #[test]
    fn a_message_is_bounded_by_its_bytes() {
        let mut log = log();
        for _ in 0..16 {
            log.push(page(60 << 10));
        }
        assert_eq!(sequences(&log.take(256)), [1, 2, 3, 4]);
        assert_eq!(sequences(&log.take(2)), [5, 6]);
        assert_eq!(sequences(&log.take(256)), [7, 8, 9, 10]);
    }

    #[test]
    fn what_was_sent_is_handed_out_again_from_any_report_that_is_kept() {
        let mut log = log_of(3);
        log.take(3);
        assert_eq!(log.rewind(2), Ok(()));
        assert_eq!(sequences(&log.take(9)), [2, 3]);
        assert_eq!(log.rewind(4), Ok(()), "the next one is not there yet");
        assert!(log.take(9).is_empty());
        assert_eq!(log.rewind(5), Err(RewindError::NeverSent));
        assert_eq!(log.rewind(0), Err(RewindError::NeverSent));
    }

    #[test]
    fn what_was_received_is_forgotten_and_said_to_be_gone() {
        let mut log = log_of(3);
        assert_eq!(log.received(1), Err(NeverSent), "it was not even sent");
        log.take(3);
        assert_eq!(log.received(2), Ok(()));
        assert_eq!(log.received(2), Ok(()), "twice changes nothing");
        assert_eq!(log.received(4), Err(NeverSent));
        assert_eq!(
            log.rewind(2),
            Err(RewindError::Gone(Gone {
                first_kept: 3,
                gave_way: false
            }))
        );
        assert_eq!(log.rewind(3), Ok(()));
        log.take(9);
        assert_eq!(log.received(3), Ok(()));
        assert_eq!(
            log.rewind(3),
            Err(RewindError::Gone(Gone {
                first_kept: 4,
                gave_way: false
            }))
        );
        assert_eq!(log.rewind(4), Ok(()));
    }

    #[test]
    fn what_is_kept_is_counted_in_the_room_for_all_and_what_gave_way_is_told() {
        let room = Arc::new(ReportRoom::new(16 << 10));
        let mut log = ReportLog::new(Arc::clone(&room));
        log.push(page(10_000));
        assert!(!room.is_exceeded());
        log.push(page(10_000));
        assert!(room.is_exceeded());
        assert!(!log.drop_sent(), "nothing was handed out");
        assert_eq!(log.take(1).len(), 1);
        assert!(log.drop_sent());
        assert!(!room.is_exceeded());
        let gone = |first_kept| {
            Err(RewindError::Gone(Gone {
                first_kept,
                gave_way: true,
            }))
        };
        assert_eq!(log.rewind(1), gone(2));
        assert_eq!(sequences(&log.take(9)), [2], "what was not handed out is there");
        log.drop_all();
        assert_eq!((log.bytes(), log.rewind(2)), (0, gone(3)));
        log.push(page(1));
        log.drop_all();
        assert_eq!(log.resume_at(), 3, "whoever resumes there hears of the gap");
        assert_eq!(log.rewind(3), gone(4));
        assert_eq!(log.rewind(4), Ok(()));
        assert_eq!(log.resume_at(), 4);
        log.push(page(20_000));
        assert!(room.is_exceeded());
        drop(log);
        assert!(!room.is_exceeded(), "a session that ended keeps nothing");
    }

    #[test]
    fn the_oldest_are_dropped_when_nobody_receives_and_the_gap_is_told() {
        let mut log = log_of(REPORTS_KEPT_MAX + 2);
        assert_eq!(log.kept.len(), REPORTS_KEPT_MAX);
        assert_eq!(
            log.rewind(2),
            Err(RewindError::Gone(Gone {
                first_kept: 3,
                gave_way: false
            }))
        );
        assert_eq!(log.rewind(3), Ok(()));
        assert_eq!(log.take(1)[0].sequence, 3);
    }
}
