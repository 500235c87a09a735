//! From a journal to the engine that it makes: the newest valid snapshot, then every record after it.

use std::time::Instant;

use domain::Sequence;
use matcher::{Engine, Event};

use super::Recovery;
use crate::journal::{Archive, JournalError, Position, Snapshot};

/// A sequencer that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal cannot be opened, read or trusted.
    #[error("could not recover the engine from its journal")]
    Journal(#[from] JournalError),
    /// A thread could not be started.
    #[error("could not start the sequencer's thread")]
    Thread(#[source] std::io::Error),
}

/// Rebuilds the engine at `position`, the end of its journal.
pub(super) fn recover(archive: &dyn Archive, position: Position) -> Result<(Engine, Recovery), StartError> {
    let started = Instant::now();
    if let Some(newest) = archive.snapshots()?.first().copied()
        && newest > position.sequence
    {
        return Err(StartError::Journal(JournalError::Lost {
            last: position.sequence,
            snapshot: newest,
        }));
    }
    let (mut engine, from_snapshot) = begin(archive, position.sequence)?;
    let mut replayed = 0;
    let mut events: Vec<Event> = Vec::new();
    for record in archive.read(engine.sequence())? {
        let record = record?;
        events.clear();
        engine.apply(&record.stamped, &mut events);
        replayed += 1;
    }
    let recovery = Recovery {
        sequence: engine.sequence(),
        from_snapshot,
        replayed,
        state_hash: engine.state_hash(),
        took: started.elapsed(),
    };
    Ok((engine, recovery))
}

/// The engine of the newest valid snapshot at or below `sequence`, or one before its first command.
pub(super) fn begin(
    archive: &dyn Archive,
    sequence: Sequence,
) -> Result<(Engine, Option<Sequence>), JournalError> {
    let candidates = archive.snapshots()?;
    for candidate in candidates.into_iter().filter(|candidate| *candidate <= sequence) {
        let snapshot = match archive.snapshot(candidate) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                tracing::warn!(sequence = candidate.get(), %error, "passed over a snapshot");
                continue;
            }
        };
        let Some(engine) = restore(&snapshot) else {
            continue;
        };
        if archive.read(candidate)?.chain_head() != snapshot.chain {
            return Err(JournalError::Diverged { sequence: candidate });
        }
        return Ok((engine, Some(candidate)));
    }
    Ok((Engine::new(archive.limits()), None))
}

fn restore(snapshot: &Snapshot) -> Option<Engine> {
    match Engine::restore(&snapshot.state) {
        Ok(engine) if engine.sequence() == snapshot.sequence => Some(engine),
        Ok(engine) => {
            tracing::warn!(
                sequence = snapshot.sequence.get(),
                found = engine.sequence().get(),
                "passed over a snapshot that holds another record's state"
            );
            None
        }
        Err(error) => {
            tracing::warn!(sequence = snapshot.sequence.get(), %error, "passed over a snapshot");
            None
        }
    }
}
