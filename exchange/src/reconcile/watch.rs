//! From time to time, while the exchange trades: do the two books still agree?
//!
//! Credits are always on their way: a top-up is reserved at billing before the engine is told, a job's charge leaves the
//! engine before it is settled. So only accounts are compared whose buying power stayed as it was while billing was read,
//! and a difference counts when it is found again and again, the same to the nano-credit. Then it is treated as at the
//! start: what is missing at the engine is funded, and what differs still is logged with both figures, and the account
//! buys nothing until somebody has looked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::{AccountId, ShardId};
use service::shutdown::Shutdown;

use super::{Mismatch, ReconcileError, Reconciled, differences, held, mend, powers};
use crate::billing_client::BillingClient;
use crate::buying_power::BuyingPower;
use crate::outbox::OutboxHandle;
use crate::sequencer::SequencerHandle;

/// Between two looks. A look reads all accounts on the sequencer's thread, and all that hold something at billing.
const LOOK_EVERY: Duration = Duration::from_mins(5);

/// Looks in a row that find the same difference before it counts: no top-up is on its way for so long.
const LOOKS_ALIKE: u32 = 3;

/// How long mending one account may take. Its orders wait meanwhile; what is left is found again by the next look.
const MENDING_MAX: Duration = Duration::from_secs(20);

/// What the looks have found and done since the start. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ReconcileCounts(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    looks: AtomicU64,
    funded: AtomicU64,
    mismatched: AtomicU64,
}

impl ReconcileCounts {
    /// How often the books were compared, the start with it.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.0.looks.load(Ordering::Relaxed)
    }

    /// How many accounts got buying power that billing had reserved and the engine did not know of.
    #[must_use]
    pub fn funded(&self) -> u64 {
        self.0.funded.load(Ordering::Relaxed)
    }

    /// How many accounts were suspended because their books differed.
    #[must_use]
    pub fn mismatched(&self) -> u64 {
        self.0.mismatched.load(Ordering::Relaxed)
    }

    /// Adds what one comparison came to.
    pub fn add(&self, reconciled: &Reconciled) {
        let count = |accounts: usize| u64::try_from(accounts).unwrap_or(u64::MAX);
        self.0.looks.fetch_add(1, Ordering::Relaxed);
        self.0
            .funded
            .fetch_add(count(reconciled.funded.len()), Ordering::Relaxed);
        self.0
            .mismatched
            .fetch_add(count(reconciled.mismatches.len()), Ordering::Relaxed);
    }
}

/// What a watch looks at.
#[derive(Clone, Debug)]
pub struct ReconcileParts {
    /// The engine's shard.
    pub shard: ShardId,
    /// The engine.
    pub sequencer: SequencerHandle,
    /// Billing.
    pub billing: BillingClient,
    /// What is still on its way to billing.
    pub outbox: OutboxHandle,
    /// Who may buy.
    pub buying_power: BuyingPower,
}

/// What one look at both books came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Accounts whose two figures differ.
    pub differing: BTreeMap<AccountId, Mismatch>,
    /// How many accounts were at rest, and so were compared.
    pub at_rest: usize,
    /// How many were not: credits of theirs were on their way.
    pub moving: usize,
}

impl ReconcileParts {
    /// Compares the books of the accounts whose buying power stays as it is meanwhile.
    ///
    /// # Errors
    /// See [`ReconcileError`].
    pub async fn compare(&self) -> Result<Compared, ReconcileError> {
        let before = powers(&self.sequencer).await?;
        let sequence = self.sequencer.read(matcher::Engine::sequence).await?;
        self.outbox.wait_settled(sequence).await?;
        let held = held(self.shard, &self.billing).await?;
        let after = powers(&self.sequencer).await?;
        let moved = |account: &&AccountId| before.get(account) != after.get(account);
        let moving: BTreeSet<AccountId> = before.keys().chain(after.keys()).filter(moved).copied().collect();
        let at_rest = after.keys().filter(|account| !moving.contains(account)).count();
        let mut differing = differences(after, &held);
        differing.retain(|account, _| !moving.contains(account));
        Ok(Compared {
            differing,
            at_rest,
            moving: moving.len(),
        })
    }
}

/// Compares the books from time to time.
#[derive(Debug)]
pub struct ReconcileWatch {
    parts: ReconcileParts,
    counts: ReconcileCounts,
    /// Differences of accounts at rest, as they were found, and how often in a row.
    found: BTreeMap<AccountId, (Mismatch, u32)>,
}

impl ReconcileWatch {
    /// A watch that has looked at nobody yet, and adds to `counts`.
    #[must_use]
    pub const fn new(parts: ReconcileParts, counts: ReconcileCounts) -> Self {
        Self {
            parts,
            counts,
            found: BTreeMap::new(),
        }
    }

    /// Looks from time to time, until it is told to stop or a part has stopped.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.triggered() => return,
            }
            let looked = tokio::select! {
                looked = self.look() => looked,
                () = shutdown.triggered() => return,
            };
            match looked {
                Ok(_) => {}
                Err(ReconcileError::Sequencer(_) | ReconcileError::Outbox(_)) => return,
                Err(error @ ReconcileError::Billing(_)) => {
                    tracing::warn!(%error, cause = ?std::error::Error::source(&error), "the books were not compared");
                }
            }
        }
    }

    /// Looks once. Returns what was mended and who was suspended.
    ///
    /// # Errors
    /// See [`ReconcileError`].
    pub async fn look(&mut self) -> Result<Reconciled, ReconcileError> {
        let lasting = self.lasting_differences().await?;
        let mut reconciled = Reconciled::default();
        for (account, mismatch) in lasting {
            let settled = self.settle_with(account, mismatch, &mut reconciled);
            match tokio::time::timeout(MENDING_MAX, settled).await {
                Ok(settled) => settled?,
                Err(_late) => tracing::warn!(%account, "the books of the account were not compared in time"),
            }
        }
        self.counts.add(&reconciled);
        if reconciled != Reconciled::default() {
            let (funded, mismatched) = (reconciled.funded.len(), reconciled.mismatches.len());
            tracing::warn!(
                funded,
                mismatched,
                "the books of engine and billing had come apart"
            );
        }
        Ok(reconciled)
    }

    /// Differences that were found alike in enough looks.
    async fn lasting_differences(&mut self) -> Result<BTreeMap<AccountId, Mismatch>, ReconcileError> {
        let differing = self.parts.compare().await?.differing;
        let before = std::mem::take(&mut self.found);
        let mut lasting = BTreeMap::new();
        for (account, mismatch) in differing {
            if self.parts.buying_power.check(account).is_err() {
                // Suspended already: an operator was told.
                continue;
            }
            let looks = match before.get(&account) {
                Some((was, looks)) if *was == mismatch => looks.saturating_add(1),
                Some(_) | None => 1,
            };
            if looks >= LOOKS_ALIKE {
                lasting.insert(account, mismatch);
            } else {
                self.found.insert(account, (mismatch, looks));
            }
        }
        Ok(lasting)
    }

    /// Mends one account, while no top-up of it is on its way. A top-up that came through after the look may have
    /// brought the books together, so only what differs in the same way under the pause counts.
    async fn settle_with(
        &self,
        account: AccountId,
        mismatch: Mismatch,
        reconciled: &mut Reconciled,
    ) -> Result<(), ReconcileError> {
        let ReconcileParts {
            shard,
            sequencer,
            billing,
            buying_power,
            ..
        } = &self.parts;
        let Some(_quiet) = buying_power.pause(account) else {
            return Ok(());
        };
        if self.parts.compare().await?.differing.get(&account) != Some(&mismatch) {
            return Ok(());
        }
        let differing = BTreeMap::from([(account, mismatch)]);
        let funded = mend(*shard, sequencer, billing, &differing).await?;
        if funded.is_empty() {
            let Mismatch { engine, billing } = mismatch;
            tracing::error!(%account, %engine, %billing, "the books of engine and billing differ: the account buys nothing");
            buying_power.suspend([account]);
            reconciled.mismatches.insert(account, mismatch);
        }
        reconciled.funded.extend(funded);
        Ok(())
    }
}
