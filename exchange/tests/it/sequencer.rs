//! The sequencer acknowledges what is durable, tells everybody in order, and comes back as it was.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::{AccountId, Credits, Digest, Sequence, Timestamp, TransferId};
use exchange::journal::{
    AppendError, Batch, Disk, FileJournal, FileJournalOptions, Journal, JournalError, PAYLOAD_BYTES_MAX,
    Storage,
};
use exchange::sequencer::{
    Applied, Clock, Retention, Sequencer, SequencerClosed, SequencerConfig, SequencerError, StartError,
    Started, Subscription, Upkeep, replay_events, subscription,
};
use matcher::{Command, Engine, Event, Fund, Stamped};
use tokio::sync::mpsc;

use crate::faulty_disk::{FaultyDisk, Loss};
use crate::load::{Load, opening};

const FOLDER: &str = "/journal";
/// Snapshots often enough that a short test takes some.
const UPKEEP: Upkeep = Upkeep {
    commands_per_snapshot: 37,
    retention: Retention::Everything,
};

/// A clock that a test sets.
#[derive(Clone, Default)]
struct TestClock(Arc<AtomicU64>);

impl TestClock {
    fn set(&self, at: Timestamp) {
        self.0.store(at.as_micros(), Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let micros = Arc::clone(&self.0);
        Clock::new(move || Timestamp::from_micros(micros.load(Ordering::SeqCst)))
    }
}

fn start_on(
    storage: Arc<dyn Storage>,
    clock: Clock,
    subscribers: Vec<mpsc::Sender<Applied>>,
) -> Result<Started, StartError> {
    let options = FileJournalOptions {
        segment_bytes: 16_384,
        ..FileJournalOptions::default()
    };
    let journal = FileJournal::open(storage, &PathBuf::from(FOLDER), options)?;
    Sequencer::start_on(Box::new(journal), clock, UPKEEP, subscribers)
}

fn start(disk: &FaultyDisk) -> Started {
    start_on(disk.boot(), Clock::wall(), Vec::new()).unwrap()
}

fn fund(number: u64) -> Command {
    Command::Fund(Fund {
        transfer: TransferId::new(u128::from(number)),
        account: AccountId::new(number % 7),
        amount: Credits::from_nano(1),
    })
}

async fn state_hash(started: &Started) -> Digest {
    started.handle.read(Engine::state_hash).await.unwrap()
}

/// What was published, by sequence.
type Published = BTreeMap<u64, (Timestamp, Vec<Event>)>;

fn take_published(subscription: &mut Subscription, published: &mut Published) {
    while let Ok(applied) = subscription.try_recv() {
        let before = published.insert(applied.sequence.get(), (applied.at, applied.events.to_vec()));
        assert_eq!(before, None, "published twice");
    }
}

#[tokio::test]
async fn a_restart_comes_back_to_the_same_state_from_every_prefix() {
    let disk = FaultyDisk::default();
    let clock = TestClock::default();
    let mut load = Load::new(5);
    let mut hashes = BTreeMap::new();
    let mut published = Published::new();
    let mut commands = opening().into_iter();
    let mut last = None;
    for life in 0..6 {
        let (sender, mut subscription) = subscription();
        let started = start_on(disk.boot(), clock.clock(), vec![sender]).unwrap();
        if let Some((sequence, hash)) = last {
            assert_eq!(started.recovery.sequence, sequence);
            assert_eq!(started.recovery.state_hash, hash, "life {life}");
        }
        for _ in 0..80 {
            load.now = Timestamp::from_micros(load.now.as_micros() + 3_000);
            clock.set(load.now);
            let command = commands.next().unwrap_or_else(|| load.next());
            let applied = started.handle.apply(command).await.unwrap();
            load.saw(&applied.events);
            // A tick may have come between; the hash is that of the sequence it is read at.
            let (sequence, hash) = started
                .handle
                .read(|engine| (engine.sequence(), engine.state_hash()))
                .await
                .unwrap();
            hashes.insert(sequence.get(), hash);
            last = Some((sequence, hash));
        }
        // Half of the lives end in a crash, without a last snapshot.
        if life % 2 == 0 {
            disk.crash(Loss::Everything);
        }
        started.sequencer.stop().await.unwrap();
        take_published(&mut subscription, &mut published);
    }
    let started = start_on(disk.boot(), clock.clock(), Vec::new()).unwrap();
    let end = started.recovery.sequence;
    // Every prefix, from the very first command.
    let mut engine = Engine::new(matcher::Limits::default());
    let mut events = Vec::new();
    let options = FileJournalOptions::default();
    started.sequencer.stop().await.unwrap();
    let journal = FileJournal::open(disk.boot(), Path::new(FOLDER), options).unwrap();
    let archive = exchange::journal::Journal::archive(&journal);
    for record in archive.read(Sequence::ZERO).unwrap() {
        events.clear();
        engine.apply(&record.unwrap().stamped, &mut events);
        let sequence = engine.sequence().get();
        if let Some(hash) = hashes.get(&sequence) {
            assert_eq!(engine.state_hash(), *hash, "after {sequence}");
        }
        assert_eq!(published[&sequence].1, events, "events of {sequence}");
    }
    assert_eq!(engine.sequence(), end);
    // And the same events again from any point, by way of a snapshot where there is one.
    for after in (0..end.get()).step_by(41) {
        let mut expected = after;
        exchange::sequencer::Replay::new(Arc::clone(&archive))
            .events(Sequence::new(after), end, |applied| {
                expected += 1;
                assert_eq!(applied.sequence.get(), expected);
                assert_eq!(published[&expected], (applied.at, applied.events.to_vec()));
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(expected, end.get());
    }
}

#[tokio::test]
async fn a_crash_loses_no_acknowledged_command_and_applies_none_twice() {
    for seed in 0..40 {
        let loss = match seed % 3 {
            0 => Loss::Everything,
            1 => Loss::Sectors(seed),
            _ => Loss::Prefix(seed),
        };
        let disk = FaultyDisk::default();
        let (sender, mut subscription) = subscription();
        let mut started = start_on(disk.boot(), Clock::wall(), vec![sender]).unwrap();
        disk.fail_after_syncs(3 + seed % 11);
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..8 {
            let handle = started.handle.clone();
            callers.spawn(async move {
                let mut acknowledged = Vec::new();
                for number in 0..200 {
                    let transfer = caller * 1_000 + number;
                    match handle.apply(fund(transfer)).await {
                        Ok(applied) => acknowledged.push((transfer, applied.sequence)),
                        Err(SequencerClosed) => break,
                    }
                }
                acknowledged
            });
        }
        let acknowledged: Vec<(u64, Sequence)> = callers.join_all().await.into_iter().flatten().collect();
        assert!(
            matches!(started.sequencer.ended().await, Err(SequencerError::Journal(_))),
            "seed {seed}"
        );
        assert_eq!(started.handle.read(|_| ()).await, Err(SequencerClosed));
        disk.crash(loss);
        let started = start(&disk);
        let mut found = BTreeMap::new();
        started
            .replay
            .events(Sequence::ZERO, started.recovery.sequence, |applied| {
                let Command::Fund(fund) = *applied.command else {
                    panic!("only funds were sent");
                };
                let number = u64::try_from(fund.transfer.get()).unwrap();
                assert_eq!(found.insert(number, applied.sequence), None, "seed {seed}: twice");
                ControlFlow::Continue(())
            })
            .unwrap();
        for (transfer, sequence) in &acknowledged {
            assert_eq!(
                found.get(transfer),
                Some(sequence),
                "seed {seed}: lost {transfer}"
            );
        }
        // What was published was durable too, and nothing of it is missing in between.
        let mut published = 0;
        while let Ok(applied) = subscription.try_recv() {
            published += 1;
            assert_eq!(applied.sequence, Sequence::new(published), "seed {seed}");
        }
        assert!(published <= started.recovery.sequence.get(), "seed {seed}");
        assert!(
            published >= u64::try_from(acknowledged.len()).unwrap(),
            "seed {seed}"
        );
        let total = started.handle.read(Engine::buying_power_total).await.unwrap();
        assert_eq!(total, Credits::from_nano(i64::try_from(found.len()).unwrap()));
        started.sequencer.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_slow_subscriber_sees_every_command_in_order() {
    let (sender, mut slow) = mpsc::channel(1);
    let disk = FaultyDisk::default();
    let started = start_on(disk.boot(), Clock::wall(), vec![sender]).unwrap();
    let handle = started.handle.clone();
    let caller = tokio::spawn(async move {
        let calls = (0..300).map(|number| handle.apply(fund(number)));
        futures::future::join_all(calls).await
    });
    for expected in 1..=300 {
        let applied = slow.recv().await.unwrap();
        assert_eq!(applied.sequence, Sequence::new(expected));
    }
    assert!(caller.await.unwrap().iter().all(Result::is_ok));
    // One that goes away stops nobody.
    drop(slow);
    started.handle.apply(fund(999)).await.unwrap();
    started.handle.apply(fund(1_000)).await.unwrap();
    started.sequencer.stop().await.unwrap();
}

#[tokio::test]
async fn commands_that_wait_together_share_a_sync() {
    let disk = FaultyDisk::default();
    let started = start(&disk);
    let before = disk.syncs();
    let calls = (0..1_000).map(|number| started.handle.apply(fund(number)));
    let applied = futures::future::join_all(calls).await;
    assert!(applied.iter().all(Result::is_ok));
    assert!(disk.syncs() - before < 200, "{} syncs", disk.syncs() - before);
    started.sequencer.stop().await.unwrap();
}

#[tokio::test]
async fn an_idle_market_fires_its_timers_by_itself() {
    let (sender, mut subscription) = subscription();
    let disk = FaultyDisk::default();
    let started = start_on(disk.boot(), Clock::wall(), vec![sender]).unwrap();
    for command in opening() {
        started.handle.apply(command).await.unwrap();
    }
    let session = domain::SessionId::of_sequence(Sequence::new(4));
    let deadline = Timestamp::from_micros(service::clock::unix_micros() + 30_000);
    let set = matcher::SetDeadMan {
        session,
        deadline: Some(deadline),
    };
    started.handle.apply(Command::SetDeadMan(set)).await.unwrap();
    let ticked = async {
        loop {
            let applied = subscription.recv().await.unwrap();
            if *applied.command == Command::Tick {
                return applied;
            }
        }
    };
    let ticked = tokio::time::timeout(std::time::Duration::from_secs(20), ticked)
        .await
        .unwrap();
    assert!(ticked.at >= deadline);
    let next = started.handle.read(Engine::next_deadline).await.unwrap();
    assert!(next.is_none_or(|next| next > ticked.at), "{next:?}");
    started.sequencer.stop().await.unwrap();
}

#[tokio::test]
async fn a_command_that_no_record_holds_is_refused_and_the_next_is_not() {
    let disk = FaultyDisk::default();
    let started = start(&disk);
    let mut commands = opening();
    let Command::ListInstrument(huge) = &mut commands[1] else {
        panic!("the second command lists an instrument");
    };
    huge.specification.model = "m".repeat(PAYLOAD_BYTES_MAX);
    let calls = commands.into_iter().map(|command| started.handle.apply(command));
    let results = futures::future::join_all(calls).await;
    assert_eq!(results[1].as_ref().err(), Some(&SequencerClosed));
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
    assert_eq!(results[2].as_ref().unwrap().sequence, Sequence::new(2));
    started.sequencer.stop().await.unwrap();
}

#[tokio::test]
async fn time_never_goes_back() {
    let clock = TestClock::default();
    let disk = FaultyDisk::default();
    let started = start_on(disk.boot(), clock.clock(), Vec::new()).unwrap();
    let mut stamps = Vec::new();
    for micros in [5, 9, 3, 0, 10] {
        clock.set(Timestamp::from_micros(micros));
        stamps.push(started.handle.apply(fund(micros)).await.unwrap().at.as_micros());
    }
    assert_eq!(stamps, [5, 9, 9, 9, 10]);
    started.sequencer.stop().await.unwrap();
    clock.set(Timestamp::ZERO);
    let started = start_on(disk.boot(), clock.clock(), Vec::new()).unwrap();
    assert_eq!(started.handle.apply(fund(77)).await.unwrap().at.as_micros(), 10);
    started.sequencer.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_finishes_what_is_queued_and_leaves_nothing_to_replay() {
    let folder = tempfile::tempdir().unwrap();
    let config = SequencerConfig::new(folder.path().join("journal"));
    let started = Sequencer::start(&config, Vec::new()).unwrap();
    let handle = started.handle.clone();
    let caller = tokio::spawn(async move {
        let calls = (0..2_000).map(|number| handle.apply(fund(number)));
        futures::future::join_all(calls).await
    });
    started.handle.apply(fund(5_000)).await.unwrap();
    assert!(matches!(
        Sequencer::start(&config, Vec::new()),
        Err(StartError::Journal(_))
    ));
    started.sequencer.stop().await.unwrap();
    assert_eq!(
        started.handle.apply(fund(6_000)).await.unwrap_err(),
        SequencerClosed
    );
    let acknowledged = caller.await.unwrap().into_iter().flatten().count();

    let again = Sequencer::start(&config, Vec::new()).unwrap();
    assert_eq!(
        again.recovery.sequence.get(),
        u64::try_from(acknowledged).unwrap() + 1
    );
    assert_eq!(again.recovery.replayed, 0);
    assert_eq!(again.recovery.from_snapshot, Some(again.recovery.sequence));
    let mut replayed = 0;
    replay_events(&config.folder, Sequence::ZERO, again.recovery.sequence, |_| {
        replayed += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(replayed, acknowledged + 1);
    let total = again.handle.read(Engine::buying_power_total).await.unwrap();
    assert_eq!(total.as_nano(), i64::try_from(replayed).unwrap());
    again.sequencer.stop().await.unwrap();
}

#[tokio::test]
async fn damaged_snapshots_are_passed_over() {
    let disk = FaultyDisk::default();
    let started = start(&disk);
    for number in 0..200 {
        started.handle.apply(fund(number)).await.unwrap();
    }
    let hash = state_hash(&started).await;
    started.sequencer.stop().await.unwrap();
    let snapshots: Vec<PathBuf> = disk
        .boot()
        .list(Path::new(FOLDER))
        .unwrap()
        .into_iter()
        .filter(|name| name.ends_with(".snapshot"))
        .map(|name| Path::new(FOLDER).join(name))
        .rev()
        .collect();
    assert!(snapshots.len() > 1, "{snapshots:?}");
    let mut from = Some(Sequence::new(u64::MAX));
    for snapshot in &snapshots {
        disk.tamper(snapshot, |bytes| *bytes.last_mut().unwrap() ^= 1);
        let started = start(&disk);
        assert_eq!(started.recovery.state_hash, hash);
        assert!(started.recovery.from_snapshot < from);
        from = started.recovery.from_snapshot;
        // A crash, so that it leaves no new snapshot.
        disk.crash(Loss::Everything);
        started.sequencer.stop().await.unwrap();
    }
    assert_eq!(from, None, "at last everything is replayed");
}

#[tokio::test]
async fn a_journal_that_ends_before_its_snapshot_has_lost_records_and_does_not_start() {
    let disk = FaultyDisk::default();
    let started = start(&disk);
    for number in 0..10 {
        started.handle.apply(fund(number)).await.unwrap();
    }
    started.sequencer.stop().await.unwrap();
    disk.tamper(&Path::new(FOLDER).join(format!("{:020}.segment", 1)), |bytes| {
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[end - 60..=end].fill(0);
    });
    let error = start_on(disk.boot(), Clock::wall(), Vec::new()).unwrap_err();
    let StartError::Journal(error) = error else {
        panic!("{error}");
    };
    assert!(error.to_string().contains("records are lost"), "{error}");
}

#[tokio::test]
async fn a_full_disk_closes_the_doors_while_there_is_room_for_what_is_under_way() {
    let disk = FaultyDisk::default();
    let started = start(&disk);
    let waits_for = async |has_space: bool| {
        while started.handle.has_space() != has_space {
            tokio::task::yield_now().await;
        }
    };
    let files = |kind: &str| {
        let names = disk.boot().list(Path::new(FOLDER)).unwrap();
        names.iter().filter(|name| name.contains(kind)).count()
    };
    // A segment is made ahead; it serves once more after the disk is full, and then there is none.
    while files("spare-") == 0 {
        tokio::task::yield_now().await;
    }
    disk.fill();
    let segments = files(".segment");
    let mut number = 0;
    while files(".segment") == segments && started.handle.has_space() {
        number += 1;
        started.handle.apply(fund(number)).await.unwrap();
    }
    waits_for(false).await;
    let hash = state_hash(&started).await;
    for _ in 0..20 {
        number += 1;
        started.handle.apply(fund(number)).await.unwrap();
    }
    assert_ne!(state_hash(&started).await, hash);
    disk.free();
    waits_for(true).await;
    for _ in 0..500 {
        number += 1;
        started.handle.apply(fund(number)).await.unwrap();
    }
    let hash = state_hash(&started).await;
    disk.crash(Loss::Everything);
    started.sequencer.stop().await.unwrap();
    let started = start(&disk);
    assert_eq!(started.recovery.sequence, Sequence::new(number));
    assert_eq!(started.recovery.state_hash, hash);
    started.sequencer.stop().await.unwrap();
}

#[tokio::test]
async fn a_disk_that_stays_full_ends_it_with_nothing_lost_and_a_start_goes_on_when_there_is_room() {
    let disk = FaultyDisk::default();
    let mut started = start(&disk);
    disk.fill();
    let mut acknowledged = 0;
    while started.handle.apply(fund(acknowledged)).await.is_ok() {
        acknowledged += 1;
    }
    let error = started.sequencer.ended().await.unwrap_err();
    let SequencerError::Journal(AppendError::Write { source, .. }) = &error else {
        panic!("{error:?}");
    };
    assert!(matches!(**source, JournalError::NoSpace { .. }), "{source}");
    assert!(source.to_string().contains("free some space"), "{source}");
    started.sequencer.stop().await.unwrap();
    // Still full: it comes up with all that it had.
    let again = start(&disk);
    assert_eq!(again.recovery.sequence, Sequence::new(acknowledged));
    again.sequencer.stop().await.unwrap();
    disk.free();
    let again = start(&disk);
    again.handle.apply(fund(acknowledged)).await.unwrap();
    again.sequencer.stop().await.unwrap();
}

#[tokio::test]
async fn a_command_that_the_engine_panics_over_stops_the_start_and_is_named() {
    let disk = FaultyDisk::default();
    let options = FileJournalOptions::default();
    let mut journal = FileJournal::open(disk.boot(), Path::new(FOLDER), options).unwrap();
    let mut batch = Batch::default();
    // No engine takes a command from before the last one.
    for (sequence, micros) in [(1, 10), (2, 5)] {
        let stamped = Stamped {
            sequence: Sequence::new(sequence),
            at: Timestamp::from_micros(micros),
            command: fund(sequence),
        };
        batch.push(&stamped).unwrap();
    }
    journal.append(Sequence::ZERO, &batch).unwrap();
    drop(journal);
    let error = start_on(disk.boot(), Clock::wall(), Vec::new()).unwrap_err();
    let text = error.to_string();
    for part in [
        "the engine panics over record 2, Fund: time never runs backwards",
        "nothing was changed",
        "atoll journal inspect --from 2 --count 1",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn the_past_goes_when_it_is_old_and_released() {
    let disk = FaultyDisk::default();
    let clock = TestClock::default();
    let options = FileJournalOptions {
        segment_bytes: 16_384,
        ..FileJournalOptions::default()
    };
    let journal = FileJournal::open(disk.boot(), Path::new(FOLDER), options).unwrap();
    let upkeep = Upkeep {
        retention: Retention::For(Duration::from_secs(1)),
        ..UPKEEP
    };
    let started = Sequencer::start_on(Box::new(journal), clock.clock(), upkeep, Vec::new()).unwrap();
    let folder = disk.boot();
    let holds_first = || {
        let first = format!("{:020}.segment", 1);
        folder.list(Path::new(FOLDER)).unwrap().contains(&first)
    };
    let apply = async |number: u64| {
        clock.set(Timestamp::from_micros(number * 1_000));
        started.handle.apply(fund(number)).await.unwrap();
    };
    for number in 1..=2_000 {
        apply(number).await;
    }
    assert!(holds_first(), "old, but nobody has released it");
    let mut released = Sequence::ZERO;
    for number in 2_001.. {
        released = Sequence::new(number - 1_100);
        started.replay.release(released);
        apply(number).await;
        if !holds_first() {
            break;
        }
        assert!(number < 20_000, "the past stays for ever");
    }
    started.sequencer.stop().await.unwrap();
    let again = start_on(disk.boot(), clock.clock(), Vec::new()).unwrap();
    let end = again.recovery.sequence;
    let mut seen = 0;
    again
        .replay
        .events(released, end, |_| {
            seen += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(seen, end.get() - released.get());
    again.sequencer.stop().await.unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"not a folder").unwrap();
    let result = FileJournal::open(
        Arc::new(Disk),
        &file.join("journal"),
        FileJournalOptions::default(),
    );
    let error = result.unwrap_err().to_string();
    assert!(error.starts_with("could not create"), "{error}");
}
