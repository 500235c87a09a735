//! `atoll journal verify`: every record and every snapshot, checked.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result, bail};
use clap::Args;
use domain::{Digest, Sequence, Timestamp};
use exchange::journal::{Archive as _, FileArchive};
use exchange::sequencer::{Moment, engine_at};
use matcher::Engine;
use serde_json::json;

use super::Place;
use crate::show::time;

/// What to check.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    #[command(flatten)]
    place: Place,
    /// Also apply the commands, and compare each snapshot with what they make.
    #[arg(long)]
    replay: bool,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

/// What was found to be whole.
#[derive(Default)]
struct Whole {
    records: u64,
    last: Sequence,
    at: Timestamp,
    chain: Option<Digest>,
}

/// Checks it.
pub(crate) fn run(verify: &Verify, out: &mut impl Write) -> Result<()> {
    let (folder, archive) = verify.place.open()?;
    let segments = archive.segments()?;
    // Read first: a snapshot that comes later is of records that this walk may not reach.
    let snapshots = archive.snapshots()?;
    let Some(oldest) = segments.first() else {
        bail!("there is no segment in {}", folder.display());
    };
    let before = Sequence::new(oldest.first.get().saturating_sub(1));
    let (whole, chains) = walk(&archive, before, &snapshots)?;
    for sequence in snapshots.iter().filter(|sequence| **sequence >= before) {
        let snapshot = archive.snapshot(*sequence)?;
        let engine = Engine::restore(&snapshot.state)
            .with_context(|| format!("the snapshot at {sequence} holds no engine"))?;
        if engine.sequence() != *sequence {
            bail!("the snapshot at {sequence} holds the state of another record");
        }
        if chains.get(sequence) != Some(&snapshot.chain) {
            bail!("the snapshot at {sequence} was not taken of these records");
        }
    }
    if verify.replay {
        replay(&archive, &snapshots, whole.last)?;
    }
    let chain = whole.chain.map(|chain| chain.to_string());
    if verify.json {
        let line = json!({
            "whole": true,
            "segments": segments.len(),
            "records": whole.records,
            "first": oldest.first.get(),
            "last": whole.last.get(),
            "last_at": time(whole.at),
            "chain": chain,
            "snapshots": snapshots.len(),
            "replayed": verify.replay,
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{} records in {} segments are whole and follow from one another",
        whole.records,
        segments.len()
    )?;
    if let Some(chain) = chain {
        writeln!(
            out,
            "the last is {} of {}, chain {chain}",
            whole.last,
            time(whole.at)
        )?;
    }
    let how = if verify.replay {
        ", and are what the commands make"
    } else {
        ""
    };
    writeln!(
        out,
        "{} snapshots are whole and of these records{how}",
        snapshots.len()
    )?;
    Ok(())
}

/// Walks every record; the chain at each snapshot comes back with what was found.
fn walk(
    archive: &FileArchive,
    before: Sequence,
    snapshots: &[Sequence],
) -> Result<(Whole, BTreeMap<Sequence, Digest>)> {
    let mut records = archive.read(before)?;
    let mut chains = BTreeMap::from([(before, records.chain_head())]);
    let mut whole = Whole {
        last: before,
        ..Whole::default()
    };
    for record in records.by_ref() {
        let record = record?;
        whole.records += 1;
        whole.last = record.stamped.sequence;
        whole.at = record.stamped.at;
        whole.chain = Some(record.chain);
        if snapshots.contains(&whole.last) {
            chains.insert(whole.last, record.chain);
        }
    }
    if let Some(lost) = snapshots.iter().find(|sequence| **sequence > whole.last) {
        bail!(
            "the journal ends at record {}, before its snapshot at {lost}: records are lost",
            whole.last
        );
    }
    Ok((whole, chains))
}

/// Applies everything from the oldest snapshot, or the first record, and compares each later snapshot.
fn replay(archive: &FileArchive, snapshots: &[Sequence], last: Sequence) -> Result<()> {
    let oldest = snapshots.last().copied().unwrap_or_default();
    let begins_at_once = archive.read(Sequence::ZERO).is_ok();
    let mut engine = if begins_at_once {
        Engine::new(archive.limits())
    } else {
        engine_at(archive, Moment::Sequence(oldest))?
    };
    let mut events = Vec::new();
    for record in archive.read(engine.sequence())? {
        let stamped = record?.stamped;
        if stamped.sequence > last {
            break;
        }
        events.clear();
        engine.apply(&stamped, &mut events);
        if snapshots.contains(&stamped.sequence)
            && archive.snapshot(stamped.sequence)?.state != engine.snapshot()
        {
            bail!(
                "the snapshot at {} is not what the commands make",
                stamped.sequence
            );
        }
    }
    Ok(())
}
