//! A sequencer in a process of its own is killed at random moments under load, again and again on one folder. No command
//! that it acknowledged is lost, none is there twice, and each life begins with the state that the one before left.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;

use domain::{Digest, Sequence};
use exchange::journal::{Archive as _, Disk, FileArchive, FileJournal, FileJournalOptions};
use exchange::sequencer::{Applied, Clock, Retention, Sequencer, SequencerHandle, Started, Upkeep};
use matcher::{Command, Engine, Limits};

use crate::faulty_disk::Random;
use crate::load::{Load, opening};

/// Lives in the normal tests; a long campaign says how many it wants.
const KILLS: u64 = 40;
const FOLDER: &str = "ATOLL_KILLED_FOLDER";
const LIFE: &str = "ATOLL_KILLED_LIFE";
/// The test of this file. It starts itself again: with a folder in the environment it is the process that is killed.
const TEST: &str = "killed::a_process_that_is_killed_loses_nothing_it_acknowledged";
/// Callers at once, each of whom waits for his acknowledgement before he goes on.
const CALLERS: u64 = 8;

fn start(folder: &Path) -> Started {
    let options = FileJournalOptions {
        // So small that lives end while segments and snapshots are made.
        segment_bytes: 64 * 1_024,
        ..FileJournalOptions::default()
    };
    let journal = FileJournal::open(Arc::new(Disk), folder, options).unwrap();
    let upkeep = Upkeep {
        commands_per_snapshot: 150,
        retention: Retention::Everything,
    };
    Sequencer::start_on(Box::new(journal), Clock::wall(), upkeep, Vec::new()).unwrap()
}

/// Says something to whoever will kill this process, in one write.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn fingerprint(value: &impl std::fmt::Debug) -> String {
    Digest::of(format!("{value:?}").as_bytes()).to_string()
}

fn acknowledged(applied: &Applied) {
    let command = fingerprint(applied.command.as_ref());
    let events = fingerprint(&applied.events);
    say(&format!("ack {} {command} {events}", applied.sequence.get()));
}

/// The process that is killed: works on the folder until it is.
async fn live(folder: PathBuf) {
    let life: u64 = std::env::var(LIFE).unwrap().parse().unwrap();
    let started = start(&folder);
    let recovery = &started.recovery;
    say(&format!(
        "began {} {}",
        recovery.sequence.get(),
        recovery.state_hash
    ));
    for command in opening()
        .into_iter()
        .skip(usize::try_from(recovery.sequence.get()).unwrap())
    {
        acknowledged(&started.handle.apply(command).await.unwrap());
    }
    let callers = (0..CALLERS).map(|caller| call(started.handle.clone(), life * CALLERS + caller));
    futures::future::join_all(callers).await;
}

/// Commands without end, each with a name that no other has.
async fn call(handle: SequencerHandle, caller: u64) {
    let mut load = Load::named_from(caller, caller << 32);
    loop {
        let applied = handle.apply(load.next()).await.unwrap();
        load.saw(&applied.events);
        acknowledged(&applied);
    }
}

fn spawn(folder: &Path, life: u64) -> Child {
    Process::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(FOLDER, folder)
        .env(LIFE, life.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the process said before it was killed.
#[derive(Default)]
struct Said {
    /// The sequence that it began at, and the state hash there.
    began: Option<(Sequence, String)>,
    /// By sequence, the fingerprints of command and events.
    acknowledged: BTreeMap<u64, (String, String)>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["began", sequence, hash] = words[..] {
            let sequence = Sequence::new(sequence.parse().unwrap());
            self.began = Some((sequence, hash.to_owned()));
        } else if let ["ack", sequence, command, events] = words[..] {
            let prints = (command.to_owned(), events.to_owned());
            let before = self.acknowledged.insert(sequence.parse().unwrap(), prints);
            assert_eq!(before, None, "{line}: two commands were told one sequence");
        }
    }
}

/// One life, ended after about so many acknowledgements, or before it has begun.
fn live_and_die(folder: &Path, life: u64, acknowledgements: usize) -> Said {
    let mut child = spawn(folder, life);
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut said = Said::default();
    let mut line = String::new();
    // The runner's own first lines come while the journal is opened.
    let mut is_killed = false;
    loop {
        line.clear();
        if lines.read_line(&mut line).unwrap() == 0 {
            break;
        }
        if let Some(line) = line.strip_suffix('\n') {
            said.hear(line);
        }
        let is_time = acknowledgements == 0 || said.acknowledged.len() >= acknowledgements;
        if is_time && !is_killed {
            is_killed = true;
            child.kill().unwrap();
        }
    }
    assert!(is_killed, "life {life} ended by itself");
    child.wait().unwrap();
    said
}

/// The engine that follows the journal from its first record, life after life.
struct Shadow {
    engine: Engine,
    /// The names of all orders so far.
    named: BTreeSet<u128>,
}

impl Shadow {
    fn follow(&mut self, folder: &Path, said: &Said, seed: u64) {
        let archive = match FileArchive::open(folder) {
            Ok(archive) => archive,
            // Killed before the journal had begun.
            Err(error) => {
                assert!(said.acknowledged.is_empty(), "seed {seed}: {error}");
                return;
            }
        };
        if let Some((sequence, hash)) = &said.began {
            assert_eq!(
                *sequence,
                self.engine.sequence(),
                "seed {seed}: where the life began"
            );
            let expected = self.engine.state_hash().to_string();
            assert_eq!(*hash, expected, "seed {seed}: what the life began with");
        }
        let has_segments = archive.snapshots().is_ok() && archive.read(Sequence::ZERO).is_ok();
        if !has_segments {
            assert!(
                said.acknowledged.is_empty(),
                "seed {seed}: acknowledged without a segment"
            );
            return;
        }
        let mut told = said.acknowledged.clone();
        let mut events = Vec::new();
        for record in archive.read(self.engine.sequence()).unwrap() {
            let stamped = record.unwrap().stamped;
            events.clear();
            self.engine.apply(&stamped, &mut events);
            if let Some((command, outcome)) = told.remove(&stamped.sequence.get()) {
                assert_eq!(
                    command,
                    fingerprint(&stamped.command),
                    "seed {seed}: {}",
                    stamped.sequence
                );
                let events: Arc<[matcher::Event]> = events.as_slice().into();
                assert_eq!(outcome, fingerprint(&events), "seed {seed}: {}", stamped.sequence);
            }
            let name = match &stamped.command {
                Command::PlaceBid(bid) => Some(bid.client_order_id),
                Command::PlaceAsk(ask) => Some(ask.client_order_id),
                _ => None,
            };
            if let Some(name) = name {
                assert!(
                    self.named.insert(name.get()),
                    "seed {seed}: {name:?} is there twice"
                );
            }
        }
        assert!(
            told.is_empty(),
            "seed {seed}: acknowledged and lost: {:?}",
            told.keys()
        );
    }
}

fn kill_again_and_again(seed: u64, kills: u64) -> usize {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("journal");
    let mut random = Random(seed);
    let mut shadow = Shadow {
        engine: Engine::new(Limits::default()),
        named: BTreeSet::new(),
    };
    let mut acknowledged = 0;
    for life in 0..kills {
        let acknowledgements = if life % 5 == 4 { 0 } else { 1 + random.below(700) };
        let said = live_and_die(&folder, seed * 1_000_000 + life, acknowledgements);
        acknowledged += said.acknowledged.len();
        shadow.follow(&folder, &said, seed);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let started = start(&folder);
        assert_eq!(started.recovery.sequence, shadow.engine.sequence(), "seed {seed}");
        assert_eq!(
            started.recovery.state_hash,
            shadow.engine.state_hash(),
            "seed {seed}"
        );
        started.sequencer.stop().await.unwrap();
    });
    acknowledged
}

/// `cargo xtask test --long journal-kills` runs a thousand.
#[test]
fn a_process_that_is_killed_loses_nothing_it_acknowledged() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        return runtime.unwrap().block_on(live(folder.into()));
    }
    let seed = number("ATOLL_LONG_SEED", 1);
    let kills = number("ATOLL_LONG_COUNT", KILLS);
    let acknowledged = kill_again_and_again(seed, kills);
    println!(r#"{{"kills": {kills}, "seed": {seed}, "acknowledged": {acknowledged}, "lost": 0}}"#);
    assert!(
        acknowledged > usize::try_from(kills).unwrap() * 100,
        "{acknowledged}"
    );
}

/// What a long campaign asks for, or what a normal test does.
pub(crate) fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}
