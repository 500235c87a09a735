//! What crashes and failing disks do to a journal: what was acknowledged comes back whole, or the start is refused.

use std::panic::{AssertUnwindSafe, catch_unwind};

use domain::Sequence;
use exchange::journal::{AppendError, JournalError};

use crate::faulty_disk::{FaultyDisk, Loss, Random};
use crate::journal::{SMALL, append, open, open_with, read_all, segment, written};
use crate::killed::number;

/// Lives of a journal that each end in the middle of an append, three on one disk.
const CUTS: u64 = 2_001;
const LIVES: u64 = 3;

/// Whether the disk of a test does what it says when it is told to sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syncs {
    Done,
    /// What a journal that forgot to sync would be like.
    Forgotten,
}

/// Three lives; the error says what was lost.
fn live_and_be_cut(seed: u64, syncs: Syncs) -> Result<(), String> {
    let loss = match seed % 3 {
        0 => Loss::Everything,
        1 => Loss::Sectors(seed),
        _ => Loss::Prefix(seed),
    };
    let mut random = Random(seed);
    let disk = FaultyDisk::default();
    drop(open(&disk).map_err(|error| error.to_string())?);
    if syncs == Syncs::Forgotten {
        disk.ignore_syncs();
    }
    let (mut acknowledged, mut attempted) = (0, 0);
    for _ in 0..LIVES {
        let mut journal = open(&disk).map_err(|error| error.to_string())?;
        let found = read_all(&journal).map_err(|error| error.to_string())?;
        if !(acknowledged..=attempted).contains(&found) {
            return Err(format!(
                "{found} records of {acknowledged} acknowledged, {attempted} attempted"
            ));
        }
        acknowledged = found;
        disk.fail_after_syncs(1 + u64::try_from(random.below(12)).unwrap());
        loop {
            let count = 1 + u64::try_from(random.below(30)).unwrap();
            attempted = acknowledged + count;
            if append(&mut journal, count).is_err() {
                break;
            }
            acknowledged = attempted;
        }
        if !matches!(append(&mut journal, 1), Err(AppendError::Failed)) {
            return Err("a journal that failed took more".to_owned());
        }
        disk.crash(loss);
    }
    let journal = open(&disk).map_err(|error| error.to_string())?;
    let found = read_all(&journal).map_err(|error| error.to_string())?;
    if found < acknowledged {
        return Err(format!("{found} records of {acknowledged} acknowledged"));
    }
    Ok(())
}

/// `cargo xtask test --long journal-cuts` makes as many as it is told.
#[test]
fn no_cut_of_the_power_loses_what_was_acknowledged() {
    let first = number("ATOLL_LONG_SEED", 0);
    for seed in first..first + number("ATOLL_LONG_COUNT", CUTS).div_ceil(LIVES) {
        if let Err(lost) = live_and_be_cut(seed, Syncs::Done) {
            panic!("seed {seed}: {lost}");
        }
    }
}

/// The proof that the test above needs the sync: without it, most cuts lose what was acknowledged.
#[test]
fn without_the_sync_the_cuts_would_be_noticed() {
    let lost = (0..99)
        .filter(|seed| {
            // A record that vanished may also show as one that is not what was written.
            !matches!(
                catch_unwind(AssertUnwindSafe(|| live_and_be_cut(*seed, Syncs::Forgotten))),
                Ok(Ok(()))
            )
        })
        .count();
    assert!(lost > 90, "{lost} of 99");
}

#[test]
fn a_batch_that_is_torn_at_any_byte_takes_nothing_acknowledged_with_it() {
    let disk = written(4, SMALL);
    let before = disk.bytes(&segment(1));
    append(&mut open(&disk).unwrap(), 5).unwrap();
    let after = disk.bytes(&segment(1));
    let differs = |at: &usize| before[*at] != after[*at];
    let start = (0..after.len()).find(differs).unwrap();
    let end = (0..after.len()).rfind(differs).unwrap() + 1;
    assert!(end - start > 5 * 80);
    let mut found_before = 12;
    for torn in start..=end {
        disk.tamper(&segment(1), |bytes| {
            bytes[..torn].copy_from_slice(&after[..torn]);
            bytes[torn..].fill(0);
        });
        let mut journal = open(&disk).unwrap_or_else(|error| panic!("torn at {torn}: {error}"));
        let found = read_all(&journal).unwrap();
        assert!(found >= found_before && found <= 17, "torn at {torn}: {found}");
        found_before = found;
        append(&mut journal, 2).unwrap();
        drop(journal);
        assert_eq!(
            read_all(&open(&disk).unwrap()).unwrap(),
            found + 2,
            "torn at {torn}"
        );
    }
    assert_eq!(found_before, 17);
}

#[test]
fn every_flipped_bit_is_damage_or_a_torn_tail_behind_what_was_acknowledged() {
    let disk = written(4, 2_048);
    let whole = disk.bytes(&segment(1));
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let (mut seen, mut cut_off) = (0, 0);
    for at in 0..whole.len() {
        for bit in 0..8 {
            disk.tamper(&segment(1), |bytes| bytes[at] ^= 1 << bit);
            match open_with(&disk, 2_048) {
                Ok(journal) => {
                    assert!(at > end, "bit {bit} of byte {at} was not noticed");
                    assert_eq!(read_all(&journal).unwrap(), 12, "bit {bit} of byte {at}");
                    cut_off += 1;
                }
                Err(JournalError::Damaged { .. } | JournalError::Format { .. }) => seen += 1,
                Err(error) => panic!("bit {bit} of byte {at}: {error}"),
            }
            disk.tamper(&segment(1), |bytes| bytes.clone_from(&whole));
        }
    }
    assert_eq!(seen + cut_off, whole.len() * 8);
    assert!(seen >= end * 8, "{seen} of {} bits", end * 8);
}

#[test]
fn zeros_in_place_of_a_durable_record_are_damage_and_not_a_torn_tail() {
    let disk = written(4, SMALL);
    disk.tamper(&segment(1), |bytes| bytes[600..1_100].fill(0));
    let error = open(&disk).unwrap_err();
    assert!(
        matches!(&error, JournalError::Damaged { sequence, .. } if *sequence == Sequence::new(1)),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains("record 1 is damaged, at byte 512 of"), "{text}");
    assert!(text.contains("restore the folder from a copy"), "{text}");
}

/// `cargo xtask test --long journal-mutations` goes on with other seeds. Whatever is done to the bytes, they are refused
/// or read as what was written; nothing panics.
#[test]
fn mutated_segments_are_refused_or_read_as_they_were() {
    let first = number("ATOLL_LONG_SEED", 1);
    for seed in first..first + number("ATOLL_LONG_COUNT", 3_000) {
        let mut random = Random(seed);
        let disk = written(4, 2_048);
        disk.tamper(&segment(1), |bytes| {
            for _ in 0..=random.below(4) {
                mutate(bytes, &mut random);
            }
        });
        let outcome = open_with(&disk, 2_048).and_then(|journal| read_all(&journal));
        match outcome {
            // `read_all` compares each record; a tail of zeros looks like one that was never written.
            Ok(count) => assert!(count <= 12, "seed {seed}: {count}"),
            Err(
                JournalError::Damaged { .. } | JournalError::Format { .. } | JournalError::Missing { .. },
            ) => {}
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
}

/// Flips, fills, moves, doubles or cuts a piece.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    let size = random.below((bytes.len() - at).min(300)) + 1;
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at..at + size].fill(u8::try_from(random.below(256)).unwrap()),
        2 => bytes.copy_within(at..at + size, 0),
        3 => {
            let to = random.below(bytes.len() - size + 1);
            bytes.copy_within(at..at + size, to);
        }
        4 => bytes.truncate(at),
        _ => {
            let piece = bytes[at..at + size].to_vec();
            bytes.splice(at..at, piece);
        }
    }
}

#[test]
fn a_segment_that_is_not_as_long_as_it_was_made_is_refused() {
    let disk = written(4, 2_048);
    let whole = disk.bytes(&segment(1));
    for size in (0..whole.len()).chain([whole.len() + 1]) {
        disk.tamper(&segment(1), |bytes| bytes.resize(size, 0));
        let error = open_with(&disk, 2_048).unwrap_err();
        assert!(
            matches!(error, JournalError::Damaged { .. }),
            "{size} bytes: {error}"
        );
        disk.tamper(&segment(1), |bytes| bytes.clone_from(&whole));
    }
}

#[test]
fn damage_names_the_record_and_the_way_out() {
    let disk = written(4, SMALL);
    disk.tamper(&segment(1), |bytes| bytes[700] ^= 1);
    let error = open(&disk).unwrap_err();
    let JournalError::Damaged { sequence, offset, .. } = &error else {
        panic!("{error}");
    };
    assert!(
        *sequence > Sequence::ZERO && (512..=700).contains(offset),
        "{error}"
    );
    assert!(
        error.to_string().contains("restore the folder from a copy"),
        "{error}"
    );
}
