//! The journal keeps what it acknowledged, whatever the disk does, and says so when it cannot.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::{
    AccountId, Credits, Digest, InputWeight, Instrument, InstrumentId, Sequence, SpeedFloors, Task,
    TierFloor, Timestamp, TokenCount, TransferId,
};
use exchange::journal::{
    AppendError, Batch, Disk, FileJournal, FileJournalOptions, Journal, JournalError, PAYLOAD_BYTES_MAX,
    Preparation, SNAPSHOTS_KEPT, Snapshot, TooLarge,
};
use matcher::{Command, Engine, Fund, Limits, ListInstrument, Stamped};

use crate::faulty_disk::{FaultyDisk, Loss};

pub(crate) const FOLDER: &str = "/journal";
pub(crate) const SMALL: usize = 4_096;

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(FOLDER)
}

pub(crate) fn segment(first: u64) -> PathBuf {
    Path::new(FOLDER).join(format!("{first:020}.segment"))
}

pub(crate) fn stamped(sequence: u64) -> Stamped {
    Stamped {
        sequence: Sequence::new(sequence),
        at: Timestamp::from_micros(sequence * 10),
        command: Command::Fund(Fund {
            transfer: TransferId::new(u128::from(sequence) << 64),
            account: AccountId::new(sequence),
            amount: Credits::from_nano(1_000_000_000),
        }),
    }
}

pub(crate) fn batch(first: u64, count: u64) -> Batch {
    let mut batch = Batch::default();
    for sequence in first..first + count {
        batch.push(&stamped(sequence)).unwrap();
    }
    batch
}

pub(crate) fn options(segment_bytes: usize) -> FileJournalOptions {
    FileJournalOptions {
        segment_bytes,
        preparation: Preparation::WhenNeeded,
        ..FileJournalOptions::default()
    }
}

pub(crate) fn open_with(disk: &FaultyDisk, segment_bytes: usize) -> Result<FileJournal, JournalError> {
    FileJournal::open(disk.boot(), &folder(), options(segment_bytes))
}

pub(crate) fn open(disk: &FaultyDisk) -> Result<FileJournal, JournalError> {
    open_with(disk, SMALL)
}

pub(crate) fn append(journal: &mut FileJournal, count: u64) -> Result<(), AppendError> {
    let last = journal.position().sequence;
    journal.append(last, &batch(last.get() + 1, count)).map(drop)
}

/// How many records the journal reads, each of which must be the one that was written.
pub(crate) fn read_all(journal: &FileJournal) -> Result<u64, JournalError> {
    let mut count = 0;
    for record in journal.archive().read(Sequence::ZERO)? {
        count += 1;
        assert_is(&record?.stamped, count);
    }
    Ok(count)
}

fn assert_is(found: &Stamped, sequence: u64) {
    assert_eq!(*found, stamped(sequence));
}

/// A journal of `batches` batches of three, closed.
pub(crate) fn written(batches: u64, segment_bytes: usize) -> FaultyDisk {
    let disk = FaultyDisk::default();
    let mut journal = open_with(&disk, segment_bytes).unwrap();
    for _ in 0..batches {
        append(&mut journal, 3).unwrap();
    }
    disk
}

fn snapshot_at(journal: &FileJournal, sequence: u64) -> Snapshot {
    let mut engine = Engine::new(Limits::default());
    let mut events = Vec::new();
    for sequence in 1..=sequence {
        engine.apply(&stamped(sequence), &mut events);
    }
    Snapshot {
        sequence: Sequence::new(sequence),
        chain: journal
            .archive()
            .read(Sequence::new(sequence))
            .unwrap()
            .chain_head(),
        state: engine.snapshot(),
    }
}

#[test]
fn what_was_appended_reads_back_over_many_segments() {
    let disk = written(100, SMALL);
    let mut journal = open(&disk).unwrap();
    assert_eq!(journal.position().sequence, Sequence::new(300));
    assert_eq!(read_all(&journal).unwrap(), 300);
    append(&mut journal, 1).unwrap();
    assert_eq!(read_all(&journal).unwrap(), 301);
    for after in [0, 1, 36, 150, 299, 301] {
        let records = journal.archive().read(Sequence::new(after)).unwrap();
        assert_eq!(
            records.count(),
            usize::try_from(301 - after).unwrap(),
            "after {after}"
        );
    }
    assert!(matches!(
        journal.archive().read(Sequence::new(302)),
        Err(JournalError::Missing { sequence, .. }) if sequence == Sequence::new(302)
    ));
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_that_fits() {
    let disk = FaultyDisk::default();
    let mut journal = open(&disk).unwrap();
    append(&mut journal, 500).unwrap();
    append(&mut journal, 1).unwrap();
    drop(journal);
    assert_eq!(read_all(&open(&disk).unwrap()).unwrap(), 501);
}

#[test]
fn the_position_after_a_restart_is_the_one_before() {
    let disk = FaultyDisk::default();
    let mut journal = open(&disk).unwrap();
    append(&mut journal, 50).unwrap();
    let position = journal.position();
    drop(journal);
    assert_eq!(open(&disk).unwrap().position(), position);
}

#[test]
fn a_folder_has_one_writer_at_a_time() {
    let disk = FaultyDisk::default();
    let journal = open(&disk).unwrap();
    assert!(matches!(open(&disk), Err(JournalError::InUse { .. })));
    drop(journal);
    assert!(open(&disk).is_ok());

    let folder = tempfile::tempdir().unwrap();
    let open = || FileJournal::open(Arc::new(Disk), folder.path(), options(SMALL));
    let journal = open().unwrap();
    assert!(matches!(open(), Err(JournalError::InUse { .. })));
    drop(journal);
    assert!(open().is_ok());
}

#[test]
fn a_real_disk_keeps_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let nested = folder.path().join("data/journal");
    let open = || FileJournal::open(Arc::new(Disk), &nested, options(SMALL));
    let mut journal = open().unwrap();
    for _ in 0..40 {
        append(&mut journal, 3).unwrap();
    }
    let snapshot = snapshot_at(&journal, 60);
    journal.archive().write_snapshot(&snapshot).unwrap();
    drop(journal);
    let journal = open().unwrap();
    assert_eq!(read_all(&journal).unwrap(), 120);
    assert_eq!(journal.archive().snapshots().unwrap(), [Sequence::new(60)]);
    assert_eq!(journal.archive().snapshot(Sequence::new(60)).unwrap(), snapshot);
}

#[test]
fn a_batch_costs_one_sync() {
    let disk = FaultyDisk::default();
    let mut journal = open_with(&disk, 1_024 * 1_024).unwrap();
    let before = disk.syncs();
    append(&mut journal, 500).unwrap();
    assert_eq!(disk.syncs() - before, 1);
}

#[test]
fn an_append_writes_its_records_and_never_the_zeros_of_a_segment() {
    let disk = FaultyDisk::default();
    let segment_bytes = 64 * 1_024;
    let ahead = FileJournalOptions {
        segment_bytes,
        ..FileJournalOptions::default()
    };
    let mut journal = FileJournal::open(disk.boot(), &folder(), ahead).unwrap();
    let before = disk.written_by_me();
    for _ in 0..200 {
        append(&mut journal, 10).unwrap();
    }
    let segments = disk.boot().list(&folder()).unwrap();
    let segments = segments.iter().filter(|name| name.ends_with(".segment")).count();
    assert!(segments > 3, "{segments}");
    let written = disk.written_by_me() - before;
    assert!(written < 2_000 * 160 + segments * 512, "{written} bytes");
    drop(journal);
    let left = disk.boot().list(&folder()).unwrap();
    assert!(!left.iter().any(|name| name.ends_with(".unfinished")), "{left:?}");
    assert_eq!(read_all(&open(&disk).unwrap()).unwrap(), 2_000);
}

#[test]
fn a_missing_short_or_foreign_segment_stops_the_start() {
    let segments = |disk: &FaultyDisk| {
        let mut firsts = Vec::new();
        for first in 1..=300 {
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| disk.bytes(&segment(first)))).is_ok()
            {
                firsts.push(first);
            }
        }
        firsts
    };
    let disk = written(100, SMALL);
    let firsts = segments(&disk);
    assert!(firsts.len() > 5, "{firsts:?}");

    disk.lose(&segment(firsts[2]));
    let journal = open(&disk).unwrap();
    let error = read_all(&journal).unwrap_err();
    assert!(
        matches!(error, JournalError::Missing { sequence, .. } if sequence == Sequence::new(firsts[2])),
        "{error}"
    );

    let disk = written(100, SMALL);
    disk.tamper(&segment(firsts[1]), |bytes| bytes.truncate(2_000));
    let error = read_all(&open(&disk).unwrap()).unwrap_err();
    assert!(
        matches!(error, JournalError::Damaged { .. } | JournalError::Missing { .. }),
        "{error}"
    );

    let foreign = written(100, SMALL).bytes(&segment(firsts[1]));
    let disk = written(100, SMALL);
    disk.tamper(&segment(firsts[1]), |bytes| *bytes = foreign);
    let error = read_all(&open(&disk).unwrap()).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");

    let last = *firsts.last().unwrap();
    let disk = written(100, SMALL);
    disk.tamper(&segment(last), Vec::clear);
    assert!(matches!(open(&disk), Err(JournalError::Damaged { .. })));
}

#[test]
fn a_genesis_that_is_missing_or_of_another_format_stops_the_start() {
    let genesis = Path::new(FOLDER).join("journal.json");
    let disk = written(1, SMALL);
    disk.tamper(&genesis, |bytes| bytes.truncate(10));
    assert!(matches!(open(&disk), Err(JournalError::Genesis { .. })));
    disk.lose(&genesis);
    assert!(matches!(open(&disk), Err(JournalError::Genesis { .. })));

    let disk = written(1, SMALL);
    disk.tamper(&genesis, |bytes| {
        let mut genesis: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        genesis["format"] = 7.into();
        *bytes = serde_json::to_vec(&genesis).unwrap();
    });
    assert!(matches!(open(&disk), Err(JournalError::Format { found: 7, .. })));
}

#[test]
fn a_journal_keeps_the_limits_that_it_began_with() {
    let disk = FaultyDisk::default();
    let limits = Limits {
        islands_max: 3,
        ..Limits::default()
    };
    let first = FileJournalOptions {
        limits,
        ..options(SMALL)
    };
    drop(FileJournal::open(disk.boot(), &folder(), first).unwrap());
    assert_eq!(open(&disk).unwrap().archive().limits(), limits);
}

#[test]
fn a_full_disk_fails_the_append_and_everything_after_it() {
    let disk = FaultyDisk::default();
    let mut journal = open(&disk).unwrap();
    append(&mut journal, 3).unwrap();
    disk.fail_after_writes(0);
    let error = append(&mut journal, 3).unwrap_err();
    assert!(
        matches!(&error, AppendError::Write { sequence, .. } if *sequence == Sequence::new(4)),
        "{error}"
    );
    assert!(matches!(append(&mut journal, 3), Err(AppendError::Failed)));
    assert_eq!(journal.position().sequence, Sequence::new(3));

    // The same when it is the next segment that does not fit.
    let disk = FaultyDisk::default();
    let mut journal = open(&disk).unwrap();
    append(&mut journal, 20).unwrap();
    disk.fail_after_writes(1);
    assert!(append(&mut journal, 20).is_err());
    disk.crash(Loss::Everything);
    assert_eq!(read_all(&open(&disk).unwrap()).unwrap(), 20);
}

#[test]
fn a_command_that_is_too_large_is_refused_and_the_batch_goes_on() {
    let huge = Stamped {
        sequence: Sequence::new(2),
        at: Timestamp::ZERO,
        command: Command::ListInstrument(ListInstrument {
            instrument: InstrumentId::new(0),
            specification: Instrument {
                model: "m".repeat(PAYLOAD_BYTES_MAX),
                task: Task::Chat,
                digest: Digest::new([0; 32]),
                input_weight: InputWeight::DEFAULT,
                context_max: TokenCount::new(1),
                floors: SpeedFloors::new(
                    [TierFloor {
                        decode_per_second: 1,
                        prefill_per_second: 1,
                    }; 5],
                ),
            },
        }),
    };
    let mut batch = batch(1, 1);
    assert_eq!(batch.push(&huge), Err(TooLarge));
    assert_eq!(batch.len(), 1);
    batch.push(&stamped(2)).unwrap();
    let disk = FaultyDisk::default();
    let mut journal = open(&disk).unwrap();
    journal.append(Sequence::ZERO, &batch).unwrap();
    assert_eq!(read_all(&journal).unwrap(), 2);
}

#[test]
fn a_batch_that_does_not_follow_is_refused() {
    let disk = FaultyDisk::default();
    let mut journal = open(&disk).unwrap();
    append(&mut journal, 3).unwrap();
    for (expected, first) in [(0, 1), (2, 3), (3, 5), (4, 5)] {
        let result = journal.append(Sequence::new(expected), &batch(first, 1));
        assert!(
            matches!(result, Err(AppendError::OutOfOrder { .. })),
            "{expected}, {first}"
        );
    }
    append(&mut journal, 1).unwrap();
    assert_eq!(read_all(&journal).unwrap(), 4);
}

#[test]
fn a_snapshot_is_whole_or_not_there() {
    for writes in 0..3 {
        let disk = written(4, SMALL);
        let journal = open(&disk).unwrap();
        let snapshot = snapshot_at(&journal, 6);
        disk.fail_after_writes(writes);
        let is_written = journal.archive().write_snapshot(&snapshot).is_ok();
        disk.crash(Loss::Prefix(writes));
        let journal = open(&disk).unwrap();
        let found = journal.archive().snapshots().unwrap();
        assert_eq!(found.len(), usize::from(is_written));
        for sequence in found {
            assert_eq!(journal.archive().snapshot(sequence).unwrap(), snapshot);
        }
    }
}

#[test]
fn a_damaged_snapshot_is_noticed_at_every_byte() {
    let disk = written(4, SMALL);
    let journal = open(&disk).unwrap();
    journal
        .archive()
        .write_snapshot(&snapshot_at(&journal, 6))
        .unwrap();
    let path = Path::new(FOLDER).join(format!("{:020}.snapshot", 6));
    let whole = disk.bytes(&path);
    for at in 0..whole.len() {
        disk.tamper(&path, |bytes| bytes[at] ^= 0x10);
        let result = journal.archive().snapshot(Sequence::new(6));
        assert!(matches!(result, Err(JournalError::Snapshot { .. })), "byte {at}");
        disk.tamper(&path, |bytes| {
            bytes.clone_from(&whole);
            bytes.truncate(at);
        });
        let result = journal.archive().snapshot(Sequence::new(6));
        assert!(
            matches!(result, Err(JournalError::Snapshot { .. })),
            "cut at {at}"
        );
        disk.tamper(&path, |bytes| bytes.clone_from(&whole));
    }
    assert!(journal.archive().snapshot(Sequence::new(6)).is_ok());
}

#[test]
fn old_snapshots_are_thinned_out_and_never_leave_a_wide_gap() {
    let disk = written(200, SMALL);
    let journal = open(&disk).unwrap();
    let kept = || -> Vec<u64> {
        let snapshots = journal.archive().snapshots().unwrap();
        snapshots.into_iter().map(Sequence::get).collect()
    };
    for sequence in 1..=9 {
        journal
            .archive()
            .write_snapshot(&snapshot_at(&journal, sequence))
            .unwrap();
    }
    assert_eq!(kept(), [9, 8, 7, 6, 5, 3, 1]);
    for newest in 10..=600 {
        journal
            .archive()
            .write_snapshot(&snapshot_at(&journal, newest))
            .unwrap();
        let kept = kept();
        assert_eq!(
            kept[..SNAPSHOTS_KEPT],
            [newest, newest - 1, newest - 2, newest - 3]
        );
        for pair in kept[SNAPSHOTS_KEPT..].windows(2) {
            let (near, far) = (newest - pair[0], newest - pair[1]);
            assert!(far * 2 <= near * 3 || far == near + 1, "at {newest}: {kept:?}");
        }
        assert_eq!(kept.last(), Some(&1));
        assert!(kept.len() < 30, "at {newest}: {kept:?}");
    }
}

#[test]
fn what_no_reader_needs_goes_once_a_snapshot_stands_for_it() {
    let disk = written(100, SMALL);
    let journal = open(&disk).unwrap();
    let archive = journal.archive();
    assert_eq!(archive.retain_from(Sequence::new(300)).unwrap(), 0);
    for sequence in [100, 200, 280] {
        archive.write_snapshot(&snapshot_at(&journal, sequence)).unwrap();
    }
    assert_eq!(archive.retain_from(Sequence::new(99)).unwrap(), 0);
    let removed = archive.retain_from(Sequence::new(250)).unwrap();
    assert!(removed > 2, "{removed}");
    assert_eq!(
        archive.snapshots().unwrap(),
        [Sequence::new(280), Sequence::new(200)]
    );
    assert!(matches!(
        archive.read(Sequence::ZERO),
        Err(JournalError::Missing { .. })
    ));
    drop(journal);
    let journal = open(&disk).unwrap();
    let records = journal.archive().read(Sequence::new(200)).unwrap();
    assert_eq!(records.map(Result::unwrap).count(), 100);
}

#[test]
fn a_segment_is_as_old_as_the_first_record_after_it() {
    let disk = written(100, SMALL);
    let journal = open(&disk).unwrap();
    let archive = journal.archive();
    let full_before = |micros| archive.full_before(Timestamp::from_micros(micros)).unwrap().get();
    assert_eq!(full_before(0), 0);
    let all = full_before(u64::MAX);
    assert!((200..300).contains(&all), "{all}");
    // Records are ten microseconds apart.
    assert_eq!(full_before((all + 1) * 10), full_before(all * 10));
    assert_eq!(full_before((all + 1) * 10 + 1), all);
}
