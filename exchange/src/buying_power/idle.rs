//! Credits that nobody uses go home by themselves.
//!
//! A chunk that lies on a shard is out of its owner's reach: he cannot pay out what he earned, nor bid on another
//! shard. So whoever has not bid for a while gets it back, and asks for a new one with his next bid. How long an account
//! has rested is seen from outside, by looking at its buying power from time to time: nothing is noted on the way of a
//! bid. What a crash leaves undone the journal finishes, for what is given back derives from a journaled `Defund`.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::{AccountId, Credits};
use service::shutdown::Shutdown;

use super::{BuyingPower, EnsureError};

/// Between two looks: each reads all accounts on the sequencer's thread.
const LOOK_EVERY: Duration = Duration::from_mins(5);

/// Looks in a row that find an account as it was, before its credits go back: a quarter of an hour. Who thinks about an
/// answer before he asks again is served without a call to billing; who has left for the day is not waited for.
const LOOKS_AT_REST: u32 = 3;

/// Watches for accounts at rest.
#[derive(Debug)]
pub struct IdleWatch {
    power: BuyingPower,
    /// Accounts with nothing set aside, as they were found, and how often in a row.
    resting: BTreeMap<AccountId, (Credits, u32)>,
}

impl IdleWatch {
    /// A watch that has looked at nobody yet.
    #[must_use]
    pub fn new(power: BuyingPower) -> Self {
        Self {
            power,
            resting: BTreeMap::new(),
        }
    }

    /// Looks from time to time, until it is told to stop or the sequencer has stopped.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.triggered() => return,
            }
            match self.look().await {
                Ok(Credits::ZERO) => {}
                Ok(released) => tracing::info!(%released, "idle credits went back to their owners"),
                Err(EnsureError::Closed(_)) => return,
                Err(error) => tracing::warn!(%error, "idle credits stay reserved"),
            }
        }
    }

    /// Looks once: gives back what has rested long enough, and returns how much that was.
    ///
    /// # Errors
    /// `Closed` when the exchange is stopping. Accounts whose top-ups are in doubt are passed over.
    pub async fn look(&mut self) -> Result<Credits, EnsureError> {
        let at_rest = |engine: &matcher::Engine| {
            let idle = engine
                .accounts()
                .filter(|(_, power)| power.available > Credits::ZERO && power.reserved == Credits::ZERO);
            idle.map(|(account, power)| (account, power.available))
                .collect::<Vec<_>>()
        };
        let found = self.power.0.sequencer.read(at_rest).await?;
        let before = std::mem::take(&mut self.resting);
        let mut idle = Vec::new();
        for (account, available) in found {
            let looks = match before.get(&account) {
                Some((was, looks)) if *was == available => looks.saturating_add(1),
                Some(_) | None => 0,
            };
            if looks >= LOOKS_AT_REST {
                idle.push(account);
            } else {
                self.resting.insert(account, (available, looks));
            }
        }
        self.power.release_each(idle).await
    }
}
