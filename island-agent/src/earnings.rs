//! The owner's own record of what was done and earned: one JSON line a job, appended to the data folder.
//!
//! Each line carries the signed fields and both signatures, so that it proves itself. The exchange's ledger is the
//! truth; this log is what the owner holds against it. It starts a new file at a bounded size and keeps a bounded
//! number of them. A line that a crash cut short stands alone and is skipped when the log is read.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use domain::Credits;
use serde::{Deserialize, Serialize};

use crate::effect::{Earning, Pay, Verdict};
use crate::limits::{EARNINGS_FILE_SIZE_MAX, EARNINGS_FILES_MAX};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarningLine {
    /// When the receipt was signed, in microseconds since the epoch.
    pub signed_at_us: u64,
    /// When the job began.
    pub started_at_us: u64,
    /// The job.
    pub job: String,
    /// The lease.
    pub lease: String,
    /// Which attempt at the job it was.
    pub epoch: u8,
    /// The model.
    pub model: String,
    /// SHA-256 of its weights.
    pub model_digest: String,
    /// SHA-256 of the prompt's ids.
    pub prompt_digest: String,
    /// Ids read.
    pub prompt_tokens: u32,
    /// Ids emitted.
    pub output_tokens: u32,
    /// The head of the chain over them.
    pub chain_head: String,
    /// The execution price, in nano-credits per 1,000 work units.
    pub price_nano: u64,
    /// Whether it was an unpaid canary.
    pub canary: bool,
    /// `ACCEPTED`, `NO_REPORT`, `UNTRUSTED`, or the exchange's code.
    pub code: String,
    /// What it earned, in nano-credits.
    pub earned_nano: i64,
    /// The Island's signature, if the receipt was accepted.
    pub island_signature: String,
    /// The exchange's signature, if it was accepted.
    pub exchange_signature: String,
}

impl From<&Earning> for EarningLine {
    fn from(earning: &Earning) -> Self {
        let body = &earning.body;
        let (code, earned, island, exchange) = match &earning.verdict {
            None => ("NO_REPORT", 0, "", ""),
            Some(Verdict::Refused { code }) => (code.as_str(), 0, "", ""),
            Some(Verdict::Untrusted { .. }) => ("UNTRUSTED", 0, "", ""),
            Some(Verdict::Countersigned {
                signatures, earned, ..
            }) => (
                "ACCEPTED",
                earned.as_nano(),
                signatures.island.as_str(),
                signatures.exchange.as_str(),
            ),
        };
        Self {
            signed_at_us: body.signed_at.as_micros(),
            started_at_us: body.started_at.as_micros(),
            job: body.job.to_string(),
            lease: body.lease.to_string(),
            epoch: body.epoch.get(),
            model: earning.model.clone(),
            model_digest: earning.model_digest.to_string(),
            prompt_digest: body.prompt.to_string(),
            prompt_tokens: body.prompt_tokens.get(),
            output_tokens: body.output_tokens.get(),
            chain_head: body.chain.digest().to_string(),
            price_nano: body.price.get(),
            canary: earning.pay == Pay::Canary,
            code: code.to_owned(),
            earned_nano: earned,
            island_signature: island.to_owned(),
            exchange_signature: exchange.to_owned(),
        }
    }
}

/// The log, open for appending.
#[derive(Debug)]
pub struct EarningsLog {
    folder: PathBuf,
    file: File,
    size: u64,
    size_max: u64,
}

impl EarningsLog {
    /// Opens the log of a data folder.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Self::open_sized(folder, EARNINGS_FILE_SIZE_MAX)
    }

    fn open_sized(folder: &Path, size_max: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(file_name(folder, 0))?;
        let mut size = file.metadata()?.len();
        if size > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                size = size.saturating_add(1);
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            file,
            size,
            size_max,
        })
    }

    /// Appends one line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, line: &EarningLine) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if self.size > 0 && self.size.saturating_add(length) > self.size_max {
            self.rotate()?;
        }
        self.file.write_all(&text)?;
        self.size = self.size.saturating_add(length);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        // No sync: it could hold up the session, and the exchange has the truth.
        for number in (0..EARNINGS_FILES_MAX).rev() {
            let (from, to) = (
                file_name(&self.folder, number),
                file_name(&self.folder, number.saturating_add(1)),
            );
            if from.exists() {
                fs::rename(from, to)?;
            }
        }
        *self = Self::open_sized(&self.folder, self.size_max)?;
        Ok(())
    }
}

/// What a log adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Jobs, output tokens and earnings of each model.
    pub models: BTreeMap<String, ModelSummary>,
    /// Lines that could not be read: a crash cut them short.
    pub unreadable: u64,
}

/// What one model did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelSummary {
    /// Paid jobs whose receipt was accepted.
    pub paid: u64,
    /// Canaries, and jobs whose receipt was refused or never reported on.
    pub unpaid: u64,
    /// Ids emitted, in all.
    pub output_tokens: u64,
    /// What was earned.
    pub earned: Credits,
}

/// Adds up the log of a data folder, every file that is kept.
///
/// # Errors
/// When a file cannot be read.
pub fn summarise(folder: &Path) -> io::Result<Summary> {
    let mut summary = Summary::default();
    for number in 0..=EARNINGS_FILES_MAX {
        let path = file_name(folder, number);
        if !path.exists() {
            continue;
        }
        for line in BufReader::new(File::open(path)?).split(b'\n') {
            let line = line?;
            match serde_json::from_slice::<EarningLine>(&line) {
                Ok(line) => summary.add(&line),
                Err(_) if line.is_empty() => {}
                Err(_) => summary.unreadable = summary.unreadable.saturating_add(1),
            }
        }
    }
    Ok(summary)
}

impl Summary {
    fn add(&mut self, line: &EarningLine) {
        let model = self.models.entry(line.model.clone()).or_default();
        let is_paid = line.code == "ACCEPTED" && !line.canary;
        let count = if is_paid {
            &mut model.paid
        } else {
            &mut model.unpaid
        };
        *count = count.saturating_add(1);
        model.output_tokens = model.output_tokens.saturating_add(line.output_tokens.into());
        let earned = Credits::from_nano(line.earned_nano);
        model.earned = model.earned.checked_add(earned).unwrap_or(Credits::MAX);
    }
}

fn file_name(folder: &Path, number: u32) -> PathBuf {
    match number {
        0 => folder.join("earnings.jsonl"),
        number => folder.join(format!("earnings.{number}.jsonl")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(lease: u64, earned_nano: i64) -> EarningLine {
        EarningLine {
            signed_at_us: 2,
            started_at_us: 1,
            job: "job_1".to_owned(),
            lease: format!("lse_{lease}"),
            epoch: 0,
            model: "m".to_owned(),
            model_digest: String::new(),
            prompt_digest: String::new(),
            prompt_tokens: 3,
            output_tokens: 4,
            chain_head: String::new(),
            price_nano: 1_000,
            canary: false,
            code: "ACCEPTED".to_owned(),
            earned_nano,
            island_signature: String::new(),
            exchange_signature: String::new(),
        }
    }

    fn earned(folder: &Path) -> (u64, i64, u64) {
        let summary = summarise(folder).unwrap();
        let model = summary.models["m"];
        (model.paid, model.earned.as_nano(), summary.unreadable)
    }

    #[test]
    fn what_was_appended_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        for lease in 0..3 {
            let mut log = EarningsLog::open(folder.path()).unwrap();
            log.append(&line(lease, 5)).unwrap();
        }
        assert_eq!(earned(folder.path()), (3, 15, 0));
    }

    #[test]
    fn a_line_cut_short_by_a_crash_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = EarningsLog::open(folder.path()).unwrap();
        log.append(&line(1, 5)).unwrap();
        log.file.write_all(b"{\"signed_at").unwrap();
        drop(log);
        let mut log = EarningsLog::open(folder.path()).unwrap();
        log.append(&line(2, 6)).unwrap();
        assert_eq!(earned(folder.path()), (2, 11, 1));
    }

    #[test]
    fn the_log_is_bounded_and_the_oldest_file_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let one = u64::try_from(serde_json::to_vec(&line(10, 1)).unwrap().len()).unwrap();
        let mut log = EarningsLog::open_sized(folder.path(), 2 * one + 2).unwrap();
        for lease in 10..31 {
            log.append(&line(lease, 1)).unwrap();
        }
        // Twenty-one lines, two a file: eight full files and the open one are kept.
        assert_eq!(earned(folder.path()), (17, 17, 0));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 9);
    }
}
