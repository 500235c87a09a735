//! The sequencer's thread: what is queued becomes a batch, the batch becomes durable while it is applied, and then
//! everybody hears of it.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use matcher::{Command, Engine, Event, Stamped};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::recovery::apply;
use super::running::{Clock, SequencerError};
use super::upkeep::Upkeeper;
use super::writer::Writer;
use super::{Applied, COMMANDS_PER_BATCH_MAX, Request};
use crate::journal::{Batch, Position};

/// An idle shard fires due timers this often at most.
const TICK_INTERVAL: Duration = Duration::from_millis(10);

/// The longest sleep towards a deadline, for the wall clock may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// The engine, and all that happens round it.
pub(super) struct Shell {
    engine: Engine,
    writer: Writer,
    position: Position,
    clock: Clock,
    subscribers: Vec<mpsc::Sender<Applied>>,
    upkeep: Upkeeper,
    /// The batch that is being filled, and who waits for what in it.
    batch: Batch,
    pending: Vec<Pending>,
    events: Vec<Event>,
    ticked: Instant,
}

struct Pending {
    stamped: Stamped,
    reply: Option<oneshot::Sender<Applied>>,
}

enum Wake {
    Requests,
    Timer,
    Stop,
    Closed,
}

impl Shell {
    pub(super) fn new(
        engine: Engine,
        writer: Writer,
        position: Position,
        clock: Clock,
        subscribers: Vec<mpsc::Sender<Applied>>,
        upkeep: Upkeeper,
    ) -> Self {
        Self {
            engine,
            writer,
            position,
            clock,
            subscribers,
            upkeep,
            batch: Batch::default(),
            pending: Vec::new(),
            events: Vec::new(),
            ticked: Instant::now(),
        }
    }

    /// Runs until it is stopped, every handle is gone, or the journal fails.
    pub(super) fn run(
        mut self,
        runtime: &Runtime,
        mut queue: mpsc::Receiver<Request>,
        mut stop: oneshot::Receiver<()>,
    ) -> Result<(), SequencerError> {
        let mut requests = Vec::with_capacity(COMMANDS_PER_BATCH_MAX);
        let mut is_stopping = false;
        loop {
            let sleep = self.sleep_to_tick();
            let wake = runtime.block_on(async {
                tokio::select! {
                    biased;
                    // The other end is dropped to stop, or because nobody holds the sequencer any more.
                    _ = &mut stop, if !is_stopping => Wake::Stop,
                    count = queue.recv_many(&mut requests, COMMANDS_PER_BATCH_MAX) => {
                        if count == 0 { Wake::Closed } else { Wake::Requests }
                    }
                    () = tokio::time::sleep(sleep.unwrap_or(SLEEP_MAX)), if sleep.is_some() => Wake::Timer,
                }
            });
            match wake {
                Wake::Requests => self.serve(&mut requests)?,
                Wake::Timer => self.tick()?,
                Wake::Stop => {
                    is_stopping = true;
                    queue.close();
                }
                Wake::Closed => break,
            }
        }
        self.upkeep.finish(&self.engine, self.position);
        Ok(())
    }

    fn serve(&mut self, requests: &mut Vec<Request>) -> Result<(), SequencerError> {
        for request in requests.drain(..) {
            match request {
                Request::Apply { command, reply } => {
                    self.stamp(*command, Some(reply));
                    if self.batch.is_full() {
                        self.flush()?;
                    }
                }
                Request::Read(read) => {
                    self.flush()?;
                    read(&self.engine);
                }
            }
        }
        self.flush()
    }

    /// Gives a command its place and time, and puts it into the batch.
    fn stamp(&mut self, command: Command, reply: Option<oneshot::Sender<Applied>>) {
        let (sequence, at) = match self.pending.last() {
            Some(pending) => (pending.stamped.sequence, pending.stamped.at),
            None => (self.engine.sequence(), self.engine.now()),
        };
        let stamped = Stamped {
            sequence: sequence.next(),
            at: at.max(self.clock.now()),
            command,
        };
        match self.batch.push(&stamped) {
            Ok(()) => self.pending.push(Pending { stamped, reply }),
            // The reply is dropped, which tells the caller that nothing will come.
            Err(error) => tracing::error!(%error, "refused a command"),
        }
    }

    /// Makes the batch durable, applies it meanwhile, then reports it.
    fn flush(&mut self) -> Result<(), SequencerError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = mem::take(&mut self.batch);
        self.writer.begin(self.position.sequence, batch)?;
        let mut applied = Vec::with_capacity(self.pending.len());
        self.engine
            .anticipate(self.pending.iter().map(|pending| &pending.stamped));
        for Pending { stamped, reply } in self.pending.drain(..) {
            self.events.clear();
            apply(&mut self.engine, &stamped, &mut self.events)?;
            let outcome = Applied {
                sequence: stamped.sequence,
                at: stamped.at,
                command: Arc::new(stamped.command),
                events: self.events.as_slice().into(),
            };
            applied.push((outcome, reply));
        }
        (self.position, self.batch) = self.writer.finish()?;
        for (outcome, reply) in &mut applied {
            if let Some(reply) = reply.take() {
                // A caller that no longer waits still has his command applied.
                drop(reply.send(outcome.clone()));
            }
        }
        for (outcome, _) in applied {
            self.publish(&outcome);
        }
        self.upkeep.snapshot_if_due(&self.engine, self.position);
        Ok(())
    }

    fn publish(&mut self, outcome: &Applied) {
        self.subscribers.retain(|subscriber| {
            let is_there = subscriber.blocking_send(outcome.clone()).is_ok();
            if !is_there {
                // Whoever started it hears how it ended; in an orderly stop it goes before the last commands.
                tracing::debug!(sequence = outcome.sequence.get(), "a subscriber has gone");
            }
            is_there
        });
    }

    /// How long to wait before a tick is worth journaling; `None` while no timer is armed.
    fn sleep_to_tick(&self) -> Option<Duration> {
        let deadline = self.engine.next_deadline()?;
        let to_deadline = deadline.since(self.clock.now());
        let to_interval = TICK_INTERVAL.saturating_sub(self.ticked.elapsed());
        Some(to_deadline.max(to_interval).min(SLEEP_MAX))
    }

    fn tick(&mut self) -> Result<(), SequencerError> {
        let is_due = self
            .engine
            .next_deadline()
            .is_some_and(|deadline| deadline <= self.clock.now());
        if !is_due {
            return Ok(());
        }
        self.ticked = Instant::now();
        self.stamp(Command::Tick, None);
        self.flush()
    }
}
