//! A journal without a snapshot, read again: checked and decoded alone, applied alone, and both as a start does it.

use std::fs::File;
use std::hint::black_box;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::Sequence;
use exchange::journal::Archive as _;
use exchange::journal::{Batch, Disk, FileArchive, FileJournal, FileJournalOptions, Journal as _};
use exchange::sequencer::{Moment, engine_at};
use matcher::{Engine, Limits, Stamped};
use serde_json::{Value, json};

use crate::flow::Flow;

const COMMANDS: usize = 1_000_000;
const COMMANDS_PER_BATCH: usize = 512;
/// As the sequencer does it.
const COMMANDS_ANTICIPATED: usize = 32;

pub(crate) fn measure(folder: &Path) -> Value {
    let folder = folder.join("journal");
    let written: Vec<Stamped> = Flow::default().take(COMMANDS).collect();
    write(&folder, &written);
    let archive = FileArchive::open(&folder).unwrap();

    let begun = Instant::now();
    let read = archive.read(Sequence::ZERO).unwrap().map(Result::unwrap).count();
    let reading = begun.elapsed();
    assert_eq!(read, COMMANDS);

    let (raw, checksums) = floor(&archive);

    let mut engine = Engine::new(Limits::default());
    let mut events = Vec::new();
    let begun = Instant::now();
    for window in written.chunks(COMMANDS_ANTICIPATED) {
        engine.anticipate(window);
        for stamped in window {
            events.clear();
            engine.apply(stamped, &mut events);
        }
    }
    let applying = begun.elapsed();

    let begun = Instant::now();
    let recovered = engine_at(&archive, Moment::End).unwrap();
    let both = begun.elapsed();
    assert_eq!(recovered.state_hash(), engine.state_hash());
    json!({"recovery": {
        "commands": COMMANDS,
        "resting_orders": engine.orders().count(),
        "file_read_per_second": rate(raw),
        "file_checksum_per_second": rate(checksums),
        "read_per_second": rate(reading),
        "apply_per_second": rate(applying),
        "replay_per_second": rate(both),
    }})
}

/// The least that reading can cost: the files alone, and one checksum over all that is in them.
fn floor(archive: &FileArchive) -> (Duration, Duration) {
    let (mut raw, mut checksums) = (Duration::ZERO, Duration::ZERO);
    let mut bytes = Vec::new();
    for segment in archive.segments().unwrap() {
        let begun = Instant::now();
        bytes.clear();
        File::open(&segment.path)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        raw += begun.elapsed();
        let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        let begun = Instant::now();
        black_box(crc32c::crc32c(&bytes[..written]));
        checksums += begun.elapsed();
    }
    (raw, raw + checksums)
}

fn write(folder: &Path, commands: &[Stamped]) {
    let mut journal = FileJournal::open(Arc::new(Disk), folder, FileJournalOptions::default()).unwrap();
    let mut batch = Batch::default();
    for chunk in commands.chunks(COMMANDS_PER_BATCH) {
        batch.clear();
        for stamped in chunk {
            batch.push(stamped).unwrap();
        }
        journal.append(journal.position().sequence, &batch).unwrap();
    }
}

fn rate(span: Duration) -> u64 {
    let commands = u128::try_from(COMMANDS).unwrap();
    u64::try_from(commands * 1_000_000_000 / span.as_nanos()).unwrap()
}
