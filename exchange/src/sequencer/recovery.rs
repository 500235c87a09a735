//! From a journal to the engine that it makes: the newest valid snapshot, then every record after it.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use domain::{Sequence, Timestamp};
use matcher::{Engine, Event, Stamped};

use super::Recovery;
use crate::journal::{Archive, JournalError, Position, Records, Snapshot};

/// Commands whose memory is asked for together: what stays in the cache until it is used.
const COMMANDS_ANTICIPATED: usize = 32;

/// A sequencer that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal cannot be opened, read or trusted.
    #[error("could not recover the engine from its journal")]
    Journal(#[from] JournalError),
    /// A command that the engine panics over.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// A thread could not be started.
    #[error("could not start the sequencer's thread")]
    Thread(#[source] std::io::Error),
}

/// A command over which the engine panics: a bug of the engine. It was not acknowledged, for the engine panicked over
/// it then as well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the engine panics over record {sequence}, {command}: {message}; nothing was changed, and the journal is as it was; \
     this is a bug: report it with what `atoll journal inspect --from {sequence} --count 1` prints, and start a program \
     that has it mended"
)]
pub struct Poisoned {
    /// Its place.
    pub sequence: Sequence,
    /// What was asked.
    pub command: &'static str,
    /// What the panic said.
    pub message: String,
}

/// Applies a command; a panic becomes an error, after which the engine is no good any more.
pub(super) fn apply(engine: &mut Engine, stamped: &Stamped, events: &mut Vec<Event>) -> Result<(), Poisoned> {
    let apply = AssertUnwindSafe(|| engine.apply(stamped, events));
    catch_unwind(apply).map_err(|panic| Poisoned {
        sequence: stamped.sequence,
        command: stamped.command.name(),
        message: panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("it did not say why")
            .to_owned(),
    })
}

/// Why a journal's commands could not be applied again.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

impl From<ApplyError> for StartError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Journal(error) => Self::Journal(error),
            ApplyError::Poisoned(error) => Self::Poisoned(error),
        }
    }
}

/// Applies the commands of `records` for as long as `is_wanted` says, while the next are being read, and shows each to
/// `applied` with what it did, until that breaks.
///
/// # Errors
/// When a record that is wanted cannot be read, or the engine panics over it.
pub(super) fn apply_while(
    engine: &mut Engine,
    records: Records,
    is_wanted: impl Fn(&Stamped) -> bool,
    mut applied: impl FnMut(&Stamped, &[Event]) -> ControlFlow<()>,
) -> Result<(), ApplyError> {
    let mut events: Vec<Event> = Vec::new();
    let mut records = records.read_ahead()?;
    loop {
        let chunk = records.next_chunk()?;
        if chunk.is_empty() {
            return Ok(());
        }
        for window in chunk.chunks(COMMANDS_ANTICIPATED) {
            engine.anticipate(window);
            for stamped in window {
                if !is_wanted(stamped) {
                    return Ok(());
                }
                events.clear();
                apply(engine, stamped, &mut events)?;
                if applied(stamped, &events).is_break() {
                    return Ok(());
                }
            }
        }
    }
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
    let Beginning {
        mut engine,
        from_snapshot,
        records,
    } = begin(archive, position.sequence)?;
    let mut replayed = 0;
    apply_while(
        &mut engine,
        records,
        |_| true,
        |_, _| {
            replayed += 1;
            ControlFlow::Continue(())
        },
    )?;
    let recovery = Recovery {
        sequence: engine.sequence(),
        from_snapshot,
        replayed,
        state_hash: engine.state_hash(),
        took: started.elapsed(),
    };
    Ok((engine, recovery))
}

/// Where a replay begins.
pub(super) struct Beginning {
    pub(super) engine: Engine,
    pub(super) from_snapshot: Option<Sequence>,
    /// What comes after it.
    pub(super) records: Records,
}

/// The engine of the newest valid snapshot at or below `sequence`, or one before its first command.
pub(super) fn begin(archive: &dyn Archive, sequence: Sequence) -> Result<Beginning, JournalError> {
    begin_by(archive, sequence, Timestamp::MAX)
}

/// The same, with nothing in it that happened after `time`.
pub(super) fn begin_by(
    archive: &dyn Archive,
    sequence: Sequence,
    time: Timestamp,
) -> Result<Beginning, JournalError> {
    let candidates = archive.snapshots()?;
    for candidate in candidates.into_iter().filter(|candidate| *candidate <= sequence) {
        let snapshot = match archive.snapshot(candidate) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                tracing::warn!(sequence = candidate.get(), %error, "passed over a snapshot");
                continue;
            }
        };
        let Some(engine) = restore(&snapshot).filter(|engine| engine.now() <= time) else {
            continue;
        };
        let records = archive.read(candidate)?;
        if records.chain_head() != snapshot.chain {
            return Err(JournalError::Diverged { sequence: candidate });
        }
        return Ok(Beginning {
            engine,
            from_snapshot: Some(candidate),
            records,
        });
    }
    Ok(Beginning {
        engine: Engine::new(archive.limits()),
        from_snapshot: None,
        records: archive.read(Sequence::ZERO)?,
    })
}

/// The engine of the newest valid snapshot at or below `sequence`; if the journal was cut behind it, that of the oldest
/// valid one that there is.
pub(super) fn begin_near(archive: &dyn Archive, sequence: Sequence) -> Result<Beginning, JournalError> {
    let missing = match begin(archive, sequence) {
        Err(missing @ JournalError::Missing { .. }) => missing,
        begun => return begun,
    };
    // Oldest first: one that is damaged is passed over for the next.
    for candidate in archive.snapshots()?.into_iter().rev() {
        match begin(archive, candidate) {
            Err(JournalError::Missing { .. }) => {}
            begun => return begun,
        }
    }
    Err(missing)
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
