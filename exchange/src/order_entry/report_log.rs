//! A session's reports: numbered without a gap, kept until the client has received them, and bounded.
//!
//! Invariants:
//! - sequences count from 1, and what is read follows on what was read before;
//! - while somebody reads, a report that he has not been sent is never dropped: he is told that he is too slow long
//!   before ([`UNSENT_MAX`]);
//! - what was dropped is never passed over in silence: reading there is refused ([`Gone`]).

use std::collections::VecDeque;

use proto::exchange::v1::Report;

/// Reports that are kept for a client who has not said that he received them: some seconds of a busy market maker, at
/// about 300 bytes each.
pub(super) const REPORTS_KEPT_MAX: usize = 16_384;

/// Reports that may wait to be sent. A reader who is this far behind does not read.
pub(super) const UNSENT_MAX: u64 = 8_192;

/// Reports beyond which no commands are read: they would only bring more.
pub(super) const COMMANDS_WAIT_AT: u64 = 4_096;

/// Reports beyond which no output is read from jobs: it waits further back, where it is joined and bounded.
pub(super) const OUTPUT_WAITS_AT: u64 = 512;

/// Reports from a sequence on are not kept any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    /// The first that is.
    pub(super) first_kept: u64,
}

/// The sequence was never given to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NeverSent;

/// See the module.
#[derive(Debug)]
pub(super) struct ReportLog {
    kept: VecDeque<Report>,
    /// The sequence of the next report.
    next: u64,
    /// The sequence of the first report that was not handed out yet.
    unsent: u64,
}

impl Default for ReportLog {
    fn default() -> Self {
        Self {
            kept: VecDeque::new(),
            next: 1,
            unsent: 1,
        }
    }
}

impl ReportLog {
    /// Numbers a report and keeps it.
    pub(super) fn push(&mut self, mut report: Report) {
        report.sequence = self.next;
        self.next = self.next.saturating_add(1);
        if self.kept.len() >= REPORTS_KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(report);
    }

    /// The sequence of the first report that is kept; that of the next one if none is.
    fn first_kept(&self) -> u64 {
        self.kept.front().map_or(self.next, |report| report.sequence)
    }

    /// The sequence of the next report that is to be handed out.
    pub(super) const fn unsent(&self) -> u64 {
        self.unsent
    }

    /// How many reports wait to be handed out.
    pub(super) const fn backlog(&self) -> u64 {
        self.next.saturating_sub(self.unsent)
    }

    /// Hands out from `sequence` on.
    pub(super) fn rewind(&mut self, sequence: u64) -> Result<(), RewindError> {
        if sequence == 0 || sequence > self.next {
            return Err(RewindError::NeverSent);
        }
        if sequence < self.first_kept() {
            return Err(RewindError::Gone(Gone {
                first_kept: self.first_kept(),
            }));
        }
        self.unsent = sequence;
        Ok(())
    }

    /// Hands out up to `count` reports. They stay, for they may not arrive.
    pub(super) fn take(&mut self, count: usize) -> Vec<Report> {
        let first = self.first_kept();
        self.unsent = self.unsent.max(first);
        let skip = usize::try_from(self.unsent.saturating_sub(first)).unwrap_or(usize::MAX);
        let reports: Vec<Report> = self.kept.iter().skip(skip).take(count).cloned().collect();
        let taken = u64::try_from(reports.len()).unwrap_or(u64::MAX);
        self.unsent = self.unsent.saturating_add(taken);
        reports
    }

    /// Forgets what the client has received.
    pub(super) fn received(&mut self, through: u64) -> Result<(), NeverSent> {
        if through >= self.unsent {
            return Err(NeverSent);
        }
        while self.kept.front().is_some_and(|report| report.sequence <= through) {
            self.kept.pop_front();
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

    fn log_of(count: usize) -> ReportLog {
        let mut log = ReportLog::default();
        for _ in 0..count {
            log.push(Report::default());
        }
        log
    }

    #[test]
    fn reports_are_numbered_from_one_and_handed_out_once() {
        let mut log = log_of(3);
        assert_eq!(sequences(&log.take(2)), [1, 2]);
        assert_eq!(log.backlog(), 1);
        assert_eq!(sequences(&log.take(9)), [3]);
        assert!(log.take(9).is_empty());
        assert_eq!(log.backlog(), 0);
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
        assert_eq!(log.rewind(2), Err(RewindError::Gone(Gone { first_kept: 3 })));
        assert_eq!(log.rewind(3), Ok(()));
        log.take(9);
        assert_eq!(log.received(3), Ok(()));
        assert_eq!(log.rewind(3), Err(RewindError::Gone(Gone { first_kept: 4 })));
        assert_eq!(log.rewind(4), Ok(()));
    }

    #[test]
    fn the_oldest_are_dropped_when_nobody_receives_and_the_gap_is_told() {
        let mut log = log_of(REPORTS_KEPT_MAX + 2);
        assert_eq!(log.kept.len(), REPORTS_KEPT_MAX);
        assert_eq!(log.rewind(2), Err(RewindError::Gone(Gone { first_kept: 3 })));
        assert_eq!(log.rewind(3), Ok(()));
        assert_eq!(log.take(1)[0].sequence, 3);
    }
}
