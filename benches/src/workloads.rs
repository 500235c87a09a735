//! Two markets that the order flows do not show: substitution over many cells, and many books with little in them.
//!
//! *Implied*: 16 regions × 5 tiers × 4 bands in one instrument, 100,000 resting asks; each bid may be filled from about
//! 20 cells, and those that rest do so in 256 classes. *Thin*: 20,000 instruments with a handful of orders each. Every
//! operation is timed by itself, the reading of the clock included; batches are read ahead as the sequencer does.

mod implied;
mod random;
mod thin;

use std::time::Instant;

use anyhow::Context as _;
use domain::{Sequence, Timestamp};
use matcher::{Command, Engine, Event, Limits, Room, Stamped, Traded};

pub use implied::{ImpliedMarket, ImpliedScale, hashed, implied};
pub use thin::thin;

/// Commands in one batch, as in `book-replay`.
const BATCH: usize = 64;

/// An engine and the numbers of its next command.
#[derive(Debug)]
struct Bench {
    engine: Engine,
    next_sequence: Sequence,
    events: Vec<Event>,
}

/// Whose times are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bid,
    Ask,
}

impl Bench {
    fn new(room: &Room) -> Self {
        let mut engine = Engine::new(Limits::default());
        engine.make_room(room);
        Self {
            engine,
            next_sequence: Sequence::ZERO.next(),
            events: Vec::new(),
        }
    }

    fn stamp(&mut self, command: Command) -> Stamped {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.next();
        Stamped {
            sequence,
            at: Timestamp::from_micros(1),
            command,
        }
    }

    /// Applies one command outside of any time; an engine that refuses it makes no figure.
    fn set_up(&mut self, command: Command) -> anyhow::Result<()> {
        let stamped = self.stamp(command);
        self.apply(&stamped);
        for event in &self.events {
            if let Event::Rejected(rejected) = event {
                anyhow::bail!("the set-up was refused: {:?}", rejected.reason);
            }
        }
        Ok(())
    }

    fn apply(&mut self, stamped: &Stamped) {
        self.events.clear();
        self.engine.apply(stamped, &mut self.events);
    }

    /// Times each of the commands by itself and shows each trade outside of the time; returns the sorted times of bids
    /// and of asks.
    fn time(
        &mut self,
        commands: Vec<(Kind, Command)>,
        mut traded: impl FnMut(&Traded),
    ) -> (Vec<u128>, Vec<u128>) {
        let (mut bids, mut asks) = (Vec::new(), Vec::new());
        let mut commands = commands.into_iter().peekable();
        while commands.peek().is_some() {
            let batch: Vec<(Kind, Stamped)> = commands
                .by_ref()
                .take(BATCH)
                .map(|(kind, command)| (kind, self.stamp(command)))
                .collect();
            let begun = Instant::now();
            self.engine.anticipate(batch.iter().map(|(_, stamped)| stamped));
            let share = u128::try_from(batch.len()).unwrap_or(1);
            let share = begun.elapsed().as_nanos().div_euclid(share);
            for (kind, stamped) in &batch {
                let begun = Instant::now();
                self.apply(stamped);
                let taken = begun.elapsed().as_nanos().saturating_add(share);
                match kind {
                    Kind::Bid => bids.push(taken),
                    Kind::Ask => asks.push(taken),
                }
                for event in &self.events {
                    if let Event::Traded(trade) = event {
                        traded(trade);
                    }
                }
            }
        }
        for times in [&mut bids, &mut asks] {
            times.sort_unstable();
        }
        (bids, asks)
    }
}

fn at(times: &[u128], per_ten_thousand: usize) -> u128 {
    let position = times.len().saturating_mul(per_ten_thousand).div_euclid(10_000);
    let last = times.len().saturating_sub(1);
    times.get(position.min(last)).copied().unwrap_or_default()
}

/// What the process has in memory now, as the kernel counts it.
fn resident_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("could not read the process status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("the process status states no size")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes.saturating_mul(1_024))
}
