//! Which session an Island has: one at most, the newest.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use domain::{IslandId, Karma, KarmaBand, SessionId};
use matcher::{Command, Event, JoinIsland, LoseSessions, RejectReason};
use tokio_util::sync::CancellationToken;

use super::handshake::Greeting;
use crate::sequencer::{SequencerClosed, SequencerHandle};

/// Islands that may be joining at once without waiting for one another; those of one Island always do.
const JOINS_AT_ONCE: usize = 64;

/// The live sessions by Island.
#[derive(Debug)]
pub(super) struct Live {
    sessions: Mutex<HashMap<IslandId, Entry>>,
    joining: Vec<tokio::sync::Mutex<()>>,
}

#[derive(Clone, Debug)]
struct Entry {
    session: SessionId,
    superseded: CancellationToken,
}

/// A session that has joined.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) session: SessionId,
    /// Cancelled when a newer session of the Island takes over.
    pub(super) superseded: CancellationToken,
}

/// Why an Island could not join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JoinError {
    #[error("the exchange is stopping")]
    Closed,
    #[error("the engine refused this Island: {}", .0.code())]
    Refused(RejectReason),
}

impl From<SequencerClosed> for JoinError {
    fn from(SequencerClosed: SequencerClosed) -> Self {
        Self::Closed
    }
}

impl Default for Live {
    fn default() -> Self {
        Self {
            sessions: Mutex::default(),
            joining: std::iter::repeat_with(Default::default)
                .take(JOINS_AT_ONCE)
                .collect(),
        }
    }
}

impl Live {
    /// Opens a session for an Island and puts its profile in force. An older session ends first.
    pub(super) async fn join(
        &self,
        sequencer: &SequencerHandle,
        greeting: &Greeting,
    ) -> Result<Joined, JoinError> {
        let island = greeting.enrolment.island;
        let index = usize::try_from(island.get()).unwrap_or_default() % JOINS_AT_ONCE;
        let lock = self.joining.get(index).ok_or(JoinError::Closed)?;
        let _turn = lock.lock().await;
        let older = self.lock().remove(&island);
        if let Some(older) = older {
            older.superseded.cancel();
            end_session(sequencer, older.session).await?;
        }
        let opened = sequencer.apply(Command::OpenSession).await?;
        let session = SessionId::of_sequence(opened.sequence);
        let join = Command::JoinIsland(JoinIsland {
            island,
            owner: greeting.enrolment.owner,
            session,
            region: greeting.region,
            band: KarmaBand::of(Karma::NEW_ISLAND),
            slots: greeting.hello.slots,
        });
        let joined = sequencer.apply(join).await?;
        let refused = joined.events.iter().find_map(|event| {
            if let Event::Rejected(rejected) = event {
                Some(rejected.reason)
            } else {
                None
            }
        });
        if let Some(reason) = refused {
            end_session(sequencer, session).await?;
            return Err(JoinError::Refused(reason));
        }
        let superseded = CancellationToken::new();
        let entry = Entry {
            session,
            superseded: superseded.clone(),
        };
        self.lock().insert(island, entry);
        Ok(Joined { session, superseded })
    }

    /// Ends a session in the engine and forgets it, so that the Island may join again.
    pub(super) async fn leave(&self, sequencer: &SequencerHandle, island: IslandId, session: SessionId) {
        // A sequencer that has stopped ends every session when it starts again.
        let _ = end_session(sequencer, session).await;
        let mut sessions = self.lock();
        if sessions
            .get(&island)
            .is_some_and(|entry| entry.session == session)
        {
            sessions.remove(&island);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IslandId, Entry>> {
        // The map is whole between any two of its operations.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a session; one that has ended is left as it is.
async fn end_session(sequencer: &SequencerHandle, session: SessionId) -> Result<(), SequencerClosed> {
    let lose = Command::LoseSessions(LoseSessions::One(session));
    sequencer.apply(lose).await.map(drop)
}
