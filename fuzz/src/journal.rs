//! A journal's segment with records of any content, whole or with one thing wrong.
//!
//! The checksums keep a fuzzer that changes bytes from ever reaching what lies behind them, so the input does not hold
//! the bytes of a segment but says what to put there: records with right checksums, records with one part that does not
//! check out, and raw bytes. A journal that opens must end before the first thing that is wrong, and hold exactly the
//! records before it; opening it again must find the same. One that refuses to open must be as it was.

mod forge;
mod memory;

use std::path::Path;
use std::sync::Arc;

use domain::{Sequence, ShardId};
use exchange::journal::{FileJournal, FileJournalOptions, Journal as _, JournalError, Preparation, Storage};
use matcher::{Limits, Stamped};

use crate::journal::forge::{Base, Forged};
use crate::journal::memory::Memory;

const FOLDER: &str = "/journal";
const SEGMENT_BYTES: usize = 16 * 1_024;

/// Forges a segment as the input says, and opens the journal that it belongs to.
///
/// # Panics
/// When something does not hold.
pub fn journal_records(input: &[u8]) {
    let base = Base::of(&new_journal());
    let Forged {
        segment,
        framed,
        readable,
    } = base.forge(input);
    let memory = base.with_segment(segment);
    let before = memory.files();
    let Ok(position) = open(&memory) else {
        assert_eq!(
            memory.files(),
            before,
            "a journal that is refused is left as it was"
        );
        return;
    };
    // No fewer either: a journal that opens earlier has lost what was durable.
    assert_eq!(
        position, framed,
        "it ends after record {position}, and {framed} are good"
    );
    let read = read(&memory);
    assert_eq!(
        read, readable,
        "what is read was written, up to what is no command"
    );
    assert_eq!(
        open(&memory).ok(),
        Some(position),
        "a second start finds the same"
    );
}

/// A journal in memory before its first record.
fn new_journal() -> Memory {
    let memory = Memory::default();
    open(&memory).expect("a new journal opens");
    memory
}

/// Opens the journal and closes it; returns how many records it has.
fn open(memory: &Memory) -> Result<usize, JournalError> {
    let journal = journal(memory)?;
    Ok(usize::try_from(journal.position().sequence.get()).expect("an address fits"))
}

/// Every record of a journal that opens, up to the first that holds no command.
fn read(memory: &Memory) -> Vec<Stamped> {
    let archive = journal(memory).expect("it opened before").archive();
    let records = archive.read(Sequence::ZERO).expect("it opened before");
    records
        .map_while(Result::ok)
        .map(|record| record.stamped)
        .collect()
}

/// Small segments, made when they are needed: no thread writes zeros beside the target.
fn journal(memory: &Memory) -> Result<FileJournal, JournalError> {
    let storage: Arc<dyn Storage> = Arc::new(memory.clone());
    let options = FileJournalOptions {
        shard: ShardId::new(0),
        limits: Limits::default(),
        segment_bytes: SEGMENT_BYTES,
        preparation: Preparation::WhenNeeded,
    };
    FileJournal::open(storage, Path::new(FOLDER), options)
}
