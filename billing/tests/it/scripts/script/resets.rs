//! Resets: announced, carried out owner by owner, ended; now and then too early, twice, or out of nowhere.

use billing::store::Change;
use billing::store::reset::{NewReset, OwnerReset, Participation};
use ledger::TransferSource;

use super::{Known, Script};
use crate::support::{at, nano, owner};

impl Script {
    pub(super) fn reset(&mut self, known: &Known) -> Change {
        let Some(reset) = known.reset else {
            return self.announce();
        };
        match self.rng.u32(0..16) {
            0 => self.announce(),
            1 => Change::ResetOwner(self.wild_turn(reset)),
            2 => Change::EndReset(reset + self.rng.u32(0..2)),
            _ if known.turns.is_empty() => Change::EndReset(reset),
            _ => Change::ResetOwner(known.turns[self.rng.usize(0..known.turns.len())]),
        }
    }

    /// Announced anew, again, or again and otherwise.
    fn announce(&mut self) -> Change {
        let request_digest = [self.rng.u8(0..40); 32];
        Change::AnnounceReset(NewReset {
            id: TransferSource::Correction { request_digest }.id(),
            at: at(self.micros + self.rng.u64(0..60_000_000)),
            starter: nano(self.rng.i64(0..2_000_000_000)),
            bonus: nano([0, 5, i64::MAX][self.rng.usize(0..3)]),
            author: "grace".into(),
            reason: "a script".into(),
        })
    }

    /// A turn that nobody said was due.
    fn wild_turn(&mut self, reset: u32) -> OwnerReset {
        OwnerReset {
            reset: reset + self.rng.u32(0..2),
            owner: owner(self.who()),
            participation: [Participation::TookPart, Participation::LookedOn][self.rng.usize(0..2)],
        }
    }
}
