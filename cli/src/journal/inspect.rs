//! `atoll journal inspect`: what there is, or the commands themselves.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use domain::Sequence;
use exchange::journal::{Archive as _, FileArchive, JournalError, Record};
use exchange::sequencer::Moment;
use serde_json::{Value, json};

use super::{Place, moment};
use crate::show;
use crate::show::time;

/// What to list.
#[derive(Args, Debug)]
pub(crate) struct Inspect {
    #[command(flatten)]
    place: Place,
    /// The first command.
    #[arg(long, value_name = "SEQUENCE")]
    from: Option<u64>,
    /// The last command, or a time: no command after it is listed.
    #[arg(long, value_name = "SEQUENCE|TIME", value_parser = moment)]
    until: Option<Moment>,
    /// No more commands than this.
    #[arg(long)]
    count: Option<usize>,
    /// Only commands of this name, such as PlaceBid.
    #[arg(long, value_name = "NAME")]
    kind: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Lists it.
pub(crate) fn run(inspect: &Inspect, out: &mut impl Write) -> Result<()> {
    let (folder, archive) = inspect.place.open()?;
    let commands_are_asked_for = inspect.from.is_some()
        || inspect.until.is_some()
        || inspect.count.is_some()
        || inspect.kind.is_some();
    if commands_are_asked_for {
        return commands(&archive, inspect, out);
    }
    overview(&folder, &archive, inspect.json, out)
}

fn commands(archive: &FileArchive, inspect: &Inspect, out: &mut impl Write) -> Result<()> {
    let oldest = archive
        .segments()?
        .first()
        .map_or(1, |segment| segment.first.get());
    let from = inspect.from.unwrap_or(oldest).max(1);
    let mut left = inspect.count.unwrap_or(usize::MAX);
    for record in archive.read(Sequence::new(from - 1))? {
        let record = record?;
        let is_after = match inspect.until {
            Some(Moment::Sequence(last)) => record.stamped.sequence > last,
            Some(Moment::Time(last)) => record.stamped.at > last,
            Some(Moment::End) | None => false,
        };
        if is_after || left == 0 {
            break;
        }
        let name = record.stamped.command.name();
        if inspect
            .kind
            .as_deref()
            .is_some_and(|kind| !kind.eq_ignore_ascii_case(name))
        {
            continue;
        }
        left -= 1;
        command(&record, inspect.json, out)?;
    }
    Ok(())
}

fn command(record: &Record, is_json: bool, out: &mut impl Write) -> Result<()> {
    let stamped = &record.stamped;
    let (sequence, at, kind) = (stamped.sequence.get(), time(stamped.at), stamped.command.name());
    if !is_json {
        writeln!(out, "{sequence:>10}  {at}  {:?}", stamped.command)?;
        return Ok(());
    }
    let command = serde_json::to_value(&stamped.command).context("could not write a command")?;
    let line = json!({
        "sequence": sequence,
        "at": at,
        "kind": kind,
        "command": command,
        "chain": record.chain.to_string(),
    });
    writeln!(out, "{line}")?;
    Ok(())
}

fn overview(folder: &Path, archive: &FileArchive, is_json: bool, out: &mut impl Write) -> Result<()> {
    let segments = segments(archive)?;
    let mut snapshots = Vec::new();
    for sequence in archive.snapshots()? {
        let found = archive.snapshot(sequence);
        let state_bytes = found.as_ref().map_or(0, |snapshot| snapshot.state.len());
        let problem = found.err().map(|error| error.to_string());
        snapshots.push((sequence, state_bytes, problem));
    }
    if is_json {
        let segments: Vec<Value> = segments.iter().map(Segment::json).collect();
        let snapshots: Vec<Value> = snapshots
            .iter()
            .map(|(sequence, bytes, problem)| {
                json!({"sequence": sequence.get(), "state_bytes": bytes, "problem": problem})
            })
            .collect();
        let whole = json!({
            "journal": archive.id(),
            "folder": folder,
            "segments": segments,
            "snapshots": snapshots,
        });
        writeln!(out, "{whole}")?;
        return Ok(());
    }
    writeln!(out, "journal {} in {}\n", archive.id(), folder.display())?;
    let head = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut rows = vec![head(&["segment", "last", "first command at", "bytes"])];
    rows.extend(segments.iter().map(Segment::row));
    writeln!(out, "{}", show::table(&rows))?;
    let mut rows = vec![head(&["snapshot", "bytes", "state"])];
    rows.extend(snapshots.iter().map(|(sequence, bytes, problem)| {
        let state = problem.clone().unwrap_or_else(|| "whole".to_owned());
        vec![sequence.get().to_string(), bytes.to_string(), state]
    }));
    write!(out, "{}", show::table(&rows))?;
    Ok(())
}

/// A segment, as far as its first record tells.
struct Segment {
    first: Sequence,
    /// Known when another segment follows.
    last: Option<Sequence>,
    begins: Result<Option<String>, JournalError>,
    bytes: u64,
}

impl Segment {
    fn begins(&self) -> String {
        match &self.begins {
            Ok(Some(at)) => at.clone(),
            Ok(None) => "nothing yet".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "first": self.first.get(),
            "last": self.last.map(Sequence::get),
            "begins": self.begins(),
            "bytes": self.bytes,
        })
    }

    fn row(&self) -> Vec<String> {
        let last = self
            .last
            .map_or_else(|| "open".to_owned(), |last| last.get().to_string());
        vec![
            self.first.get().to_string(),
            last,
            self.begins(),
            self.bytes.to_string(),
        ]
    }
}

fn segments(archive: &FileArchive) -> Result<Vec<Segment>> {
    let files = archive.segments()?;
    let next = files.iter().skip(1).map(|file| Some(file.first)).chain([None]);
    let mut segments = Vec::new();
    for (file, next) in files.iter().zip(next) {
        let before = Sequence::new(file.first.get().saturating_sub(1));
        let first_record = archive
            .read(before)
            .and_then(|mut records| records.next().transpose());
        segments.push(Segment {
            first: file.first,
            last: next.map(|next| Sequence::new(next.get().saturating_sub(1))),
            begins: first_record.map(|record| record.map(|record| time(record.stamped.at))),
            bytes: fs::metadata(&file.path)
                .with_context(|| format!("could not look at {}", file.path.display()))?
                .len(),
        });
    }
    Ok(segments)
}
