//! The trades of before a start: worked out again from the last part of the journal, so that a restart empties no list.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use domain::Sequence;
use matcher::Event;

use super::Shared;
use super::feed::trade_to_wire;
use super::trades::TRADES_KEPT;
use crate::sequencer::{COMMANDS_PER_SNAPSHOT, Replay, ReplayError};

/// Commands before the start whose trades are looked for at least, if the journal still has them: as many as lie between two snapshots, so that looking costs
/// about as much as the start itself did at worst. What traded earlier is old, and the journal has it.
const COMMANDS_RECALLED: u64 = COMMANDS_PER_SNAPSHOT;

/// Trades that are remembered while looking, over all models. A model that trades seldom may lose some of its own to the
/// others'.
const TRADES_RECALLED: usize = 16 * TRADES_KEPT;

pub(super) fn recall(shared: &Shared, replay: &Replay, recovered: Sequence) -> Result<(), ReplayError> {
    let after = Sequence::new(recovered.get().saturating_sub(COMMANDS_RECALLED));
    let mut found = VecDeque::new();
    replay.recent(after, recovered, |applied| {
        if shared.ended.is_cancelled() {
            return ControlFlow::Break(());
        }
        for event in applied.events.iter() {
            if let Event::Traded(traded) = event
                && let Some(trade) = trade_to_wire(&shared.names, &applied, traded)
            {
                if found.len() == TRADES_RECALLED {
                    found.pop_front();
                }
                found.push_back((traded.cell.instrument, trade));
            }
        }
        ControlFlow::Continue(())
    })?;
    shared.trades().recall(found.into());
    Ok(())
}
