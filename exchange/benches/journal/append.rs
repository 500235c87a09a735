//! Batches through the journal, and as many bytes by one write and one sync into a file of zeros, in turns.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::Sequence;
use exchange::journal::{Batch, Disk, FileJournal, FileJournalOptions, Journal as _, SEGMENT_BYTES};
use matcher::Stamped;
use serde_json::{Value, json};

use crate::flow::Flow;

/// Commands in a batch, and how many batches are timed.
const SIZES: [(usize, usize); 3] = [(1, 2_000), (64, 1_000), (512, 500)];

/// What a record adds to its payload, and what its size is a multiple of.
const RECORD_OVERHEAD: usize = 76;
const ALIGNMENT: usize = 8;

pub(crate) fn measure(folder: &Path) -> Value {
    let mut journal = FileJournal::open(
        Arc::new(Disk),
        &folder.join("journal"),
        FileJournalOptions::default(),
    )
    .unwrap();
    let mut raw = Raw::create(&folder.join("raw"));
    let mut flow = Flow::default();
    let sizes: Vec<Value> = SIZES
        .iter()
        .map(|(commands, rounds)| {
            let (mut ours, mut floor) = (Vec::new(), Vec::new());
            for _ in 0..*rounds {
                let stamped: Vec<Stamped> = flow.by_ref().take(*commands).collect();
                let bytes = stamped.iter().map(record_size).sum();
                let begun = Instant::now();
                append(&mut journal, &stamped);
                ours.push(begun.elapsed());
                let begun = Instant::now();
                raw.append(bytes);
                floor.push(begun.elapsed());
            }
            json!({"commands": commands, "ours_us": spread(ours), "floor_us": spread(floor)})
        })
        .collect();
    json!({ "append": sizes })
}

/// Encoding, checksums and chain are the journal's work, so they are timed.
fn append(journal: &mut FileJournal, stamped: &[Stamped]) {
    let mut batch = Batch::default();
    for command in stamped {
        batch.push(command).unwrap();
    }
    let last: Sequence = journal.position().sequence;
    journal.append(last, &batch).unwrap();
}

fn record_size(stamped: &Stamped) -> usize {
    let payload = postcard::to_stdvec(stamped).unwrap().len();
    (payload + RECORD_OVERHEAD).next_multiple_of(ALIGNMENT)
}

/// A file of zeros that is written over from its beginning again when it is full.
struct Raw {
    file: File,
    offset: usize,
    bytes: Vec<u8>,
}

impl Raw {
    fn create(path: &Path) -> Self {
        let file = File::create(path).unwrap();
        file.write_all_at(&vec![0; SEGMENT_BYTES], 0).unwrap();
        file.sync_all().unwrap();
        Self {
            file,
            offset: 0,
            bytes: vec![0x5A; SEGMENT_BYTES],
        }
    }

    fn append(&mut self, size: usize) {
        if self.offset + size > SEGMENT_BYTES {
            self.offset = 0;
        }
        let offset = u64::try_from(self.offset).unwrap();
        self.file.write_all_at(&self.bytes[..size], offset).unwrap();
        self.file.sync_data().unwrap();
        self.offset += size;
    }
}

fn spread(mut spans: Vec<Duration>) -> Value {
    spans.sort_unstable();
    let at = |permille: usize| {
        let span = spans[(spans.len() - 1) * permille / 1_000];
        u64::try_from(span.as_micros()).unwrap()
    };
    json!({"p50": at(500), "p99": at(990), "max": at(1_000)})
}
