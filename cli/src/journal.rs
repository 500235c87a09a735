//! `atoll journal`: look into an exchange's journal, check all of it, rebuild the market as it was.
//!
//! Only reads: it takes no lock and writes nothing, so it works beside an exchange that runs.

mod inspect;
mod replay;
mod verify;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use domain::{Sequence, Timestamp};
use exchange::journal::FileArchive;
use exchange::sequencer::Moment;

use crate::state;

/// What to do with it.
#[derive(Debug, Subcommand)]
pub(crate) enum Journal {
    /// List segments and snapshots, or the commands themselves.
    ///
    /// Without --from, --until, --count or --kind an overview, with any of them the commands, one a line.
    #[command(after_long_help = "Examples:
  atoll journal inspect                                  what there is
  atoll journal inspect --from 1200 --count 20           twenty commands, as they were journaled
  atoll journal inspect --kind PlaceBid --json | jq .    every bid, for tools")]
    Inspect(inspect::Inspect),
    /// Check every checksum, every link of the chain and every snapshot; name the first damage.
    #[command(after_long_help = "Examples:
  atoll journal verify                    each byte that counts, in seconds
  atoll journal verify --replay           also that each snapshot is what its commands make
  atoll journal verify /backup/journal    a copy, before it is needed")]
    Verify(verify::Verify),
    /// Rebuild the engine as it was at a command or a time, and show a book.
    #[command(after_long_help = "Examples:
  atoll journal replay                                          as it is now
  atoll journal replay --until 1200                             after command 1200
  atoll journal replay --until 2026-05-01T12:00:00Z --model smollm2-135m-instruct-q4_1")]
    Replay(replay::Replay),
}

/// Where the journal is.
#[derive(Args, Debug)]
pub(crate) struct Place {
    /// An exchange's data folder, the journal in it, or a copy; that of `atoll up` unless given.
    #[arg(value_name = "FOLDER", env = "ATOLL_DATA")]
    folder: Option<PathBuf>,
}

/// Runs one of them.
pub(crate) fn run(journal: Journal) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = match journal {
        Journal::Inspect(inspect) => inspect::run(&inspect, &mut out),
        Journal::Verify(verify) => verify::run(&verify, &mut out),
        Journal::Replay(replay) => replay::run(&replay, &mut out),
    };
    match outcome.and_then(|()| Ok(out.flush()?)) {
        // Whoever read the output has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        outcome => outcome,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

impl Place {
    /// Finds the journal and opens it to read.
    fn open(&self) -> Result<(PathBuf, FileArchive)> {
        let folder = self.folder.clone().unwrap_or_else(state::default_folder);
        let candidates = [
            folder.clone(),
            folder.join("journal"),
            folder.join("exchange").join("journal"),
        ];
        let Some(found) = candidates
            .into_iter()
            .find(|candidate| candidate.join("journal.json").is_file())
        else {
            bail!(
                "there is no journal in {}, nor in the folders `journal` and `exchange/journal` of it; name the data \
                 folder of an exchange",
                folder.display()
            );
        };
        let archive = FileArchive::open(&found).context("could not open the journal")?;
        Ok((found, archive))
    }
}

/// Reads a moment: a command's sequence, or a time as RFC 3339 writes it.
fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(sequence) = text.parse() {
        return Ok(Moment::Sequence(Sequence::new(sequence)));
    }
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| "is neither a command's number nor a time such as 2026-05-01T12:00:00Z".to_owned())?;
    let micros = u64::try_from(time.as_microsecond()).map_err(|_| "lies before 1970".to_owned())?;
    Ok(Moment::Time(Timestamp::from_micros(micros)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::time;

    #[test]
    fn a_moment_is_a_number_or_a_time() {
        assert_eq!(moment("12"), Ok(Moment::Sequence(Sequence::new(12))));
        let parsed = moment("1970-01-01T00:00:01.5Z");
        assert_eq!(parsed, Ok(Moment::Time(Timestamp::from_micros(1_500_000))));
        assert!(moment("yesterday").unwrap_err().contains("2026-05-01T12:00:00Z"));
        assert_eq!(
            time(Timestamp::from_micros(1_500_000)),
            "1970-01-01T00:00:01.500000Z"
        );
    }
}
