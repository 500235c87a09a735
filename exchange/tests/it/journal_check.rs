//! Reading a journal's full segments again, while it is written.

use std::time::Duration;

use domain::Sequence;
use exchange::journal::{FileArchive, JournalError};
use exchange::journal_check::{JournalCheck, JournalCheckCounts, Looked};
use service::shutdown::Shutdown;

use crate::faulty_disk::FaultyDisk;
use crate::journal::{SMALL, append, folder, open, segment, written};

fn archive(disk: &FaultyDisk) -> FileArchive {
    FileArchive::open_on(disk.boot(), &folder()).unwrap()
}

fn check(disk: &FaultyDisk) -> (JournalCheck, JournalCheckCounts) {
    let counts = JournalCheckCounts::default();
    let check = JournalCheck::new(archive(disk), Duration::ZERO, counts.clone());
    (check, counts)
}

/// The first records of all segments, the one that is being written with them.
fn firsts(disk: &FaultyDisk) -> Vec<u64> {
    let segments = archive(disk).segments().unwrap();
    segments.iter().map(|segment| segment.first.get()).collect()
}

/// One round, a line for each segment.
fn round(check: &mut JournalCheck) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        lines.push(match check.look() {
            Looked::Whole(last) => format!("whole through {last}"),
            Looked::Damaged(JournalError::Damaged { sequence, .. }) => format!("damaged at {sequence}"),
            Looked::Damaged(JournalError::Missing { sequence, .. }) => format!("missing {sequence}"),
            Looked::Damaged(other) => panic!("{other}"),
            Looked::Nothing => return lines,
        });
    }
}

#[test]
fn every_full_segment_is_read_and_what_is_damaged_is_told_and_passed_over() {
    let disk = written(100, SMALL);
    let firsts = firsts(&disk);
    assert!(firsts.len() > 6, "{firsts:?}");
    let (mut check, counts) = check(&disk);
    let whole: Vec<String> = firsts[1..]
        .iter()
        .map(|first| format!("whole through {}", first - 1))
        .collect();
    assert_eq!(round(&mut check), whole);
    assert_eq!(round(&mut check), whole, "and again");

    disk.tamper(&segment(firsts[2]), |bytes| bytes[512 + 70] ^= 1);
    let last = *firsts.last().unwrap();
    disk.tamper(&segment(last), |bytes| bytes[512 + 70] ^= 1);
    let mut damaged = whole.clone();
    damaged[2] = format!("damaged at {}", firsts[2]);
    assert_eq!(round(&mut check), damaged, "what is being written is left alone");
    assert_eq!(counts.damaged(), 1);
    let count = u64::try_from(whole.len()).unwrap();
    assert_eq!(counts.whole(), 3 * count - 1);
}

#[test]
fn a_segment_of_another_history_is_noticed_by_the_chain_alone() {
    let (disk, other) = (written(100, SMALL), written(100, SMALL));
    let first = firsts(&disk)[2];
    let foreign = other.bytes(&segment(first));
    disk.tamper(&segment(first), |bytes| *bytes = foreign);
    let (mut check, counts) = check(&disk);
    let looked: Vec<Looked> = std::iter::repeat_with(|| check.look()).take(3).collect();
    assert!(matches!(looked[2], Looked::Damaged(_)), "{looked:?}");
    assert_eq!(counts.damaged(), 1);
}

#[test]
fn a_segment_that_is_gone_is_damage_unless_all_before_it_are_gone_too() {
    let disk = written(100, SMALL);
    let firsts = firsts(&disk);
    let (mut check, counts) = check(&disk);
    assert!(matches!(check.look(), Looked::Whole(_)));
    // Retention takes the oldest first.
    disk.lose(&segment(firsts[0]));
    disk.lose(&segment(firsts[1]));
    let looked = check.look();
    let last = Sequence::new(firsts[3] - 1);
    assert!(
        matches!(looked, Looked::Whole(through) if through == last),
        "{looked:?}"
    );
    assert_eq!(counts.damaged(), 0);
    disk.lose(&segment(firsts[4]));
    let lines = round(&mut check);
    assert_eq!(lines[0], format!("missing {}", firsts[4]), "{lines:?}");
    assert_eq!(counts.damaged(), 1);
}

#[tokio::test]
async fn it_goes_on_while_the_journal_is_written_until_it_is_stopped() {
    let disk = written(100, SMALL);
    let (check, counts) = check(&disk);
    let stop = Shutdown::manual();
    let running = tokio::spawn(check.run(stop.clone()));
    let mut journal = open(&disk).unwrap();
    let before = firsts(&disk).len();
    while firsts(&disk).len() < before + 3 || counts.whole() < 100 {
        append(&mut journal, 5).unwrap();
        tokio::task::yield_now().await;
    }
    stop.trigger();
    running.await.unwrap();
    assert_eq!(counts.damaged(), 0);
}
