//! The end of a run, in order and under deadlines.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use matcher::{Command, LoseSessions};
use service::shutdown::Shutdown;
use tokio::task::JoinHandle;

use super::services::Health;
use crate::agent_sessions::AgentSessions;
use crate::gateway::{Gateway, Served};
use crate::journal_check::JournalCheckCounts;
use crate::market_data::MarketData;
use crate::order_entry::Sessions;
use crate::outbox::Outbox;
use crate::reconcile::ReconcileCounts;
use crate::sequencer::{Sequencer, SequencerClosed, SequencerHandle};
use crate::spending::report_once;

/// How long clients may take to hear how their jobs ended.
const REPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long giving buying power back may take; what is left stays with the account that it was reserved for.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long billing may take for what is left to settle; the rest is settled by the next start.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// All that is to be stopped.
#[derive(Debug)]
pub(super) struct Stopping {
    pub(super) drain_timeout: Duration,
    pub(super) gateway: Gateway,
    pub(super) health: Health,
    pub(super) served: Served,
    pub(super) handle: SequencerHandle,
    pub(super) sequencer: Sequencer,
    pub(super) market_data: MarketData,
    pub(super) following: JoinHandle<Result<(), SequencerClosed>>,
    pub(super) recalling: JoinHandle<()>,
    pub(super) order_entry: Sessions,
    pub(super) following_orders: JoinHandle<()>,
    pub(super) leasing: JoinHandle<()>,
    pub(super) stop_leasing: Shutdown,
    pub(super) agents: AgentSessions,
    pub(super) stop_agents: Shutdown,
    pub(super) outbox: Outbox,
    pub(super) idle_watch: JoinHandle<()>,
    pub(super) following_spending: JoinHandle<()>,
    pub(super) reporting_spending: JoinHandle<()>,
    pub(super) reconcile_watch: JoinHandle<()>,
    pub(super) stop_watches: Shutdown,
    pub(super) journal_check: JoinHandle<()>,
    pub(super) reconciliations: ReconcileCounts,
    pub(super) journal_checks: JournalCheckCounts,
}

impl Stopping {
    /// Waits for the word to stop, or for a part to fail, and stops the rest.
    pub(super) async fn when(mut self, shutdown: Shutdown) -> Result<()> {
        let failure = tokio::select! {
            () = shutdown.triggered() => None,
            ended = self.sequencer.ended() => Some(match ended {
                Ok(()) => anyhow!("the sequencer ended"),
                Err(error) => anyhow!(error).context("the sequencer failed"),
            }),
            _ = &mut self.leasing => Some(anyhow!("leasing ended")),
            ended = self.outbox.ended() => Some(match ended {
                Ok(()) => anyhow!("the outbox ended"),
                Err(error) => anyhow!(error).context("the outbox failed"),
            }),
        };
        match failure {
            None => self.in_order().await,
            Some(failure) => {
                // The journal has all that counts; the next start goes on from it.
                self.health.stopping().await;
                self.at_once();
                Err(failure)
            }
        }
    }

    fn at_once(&self) {
        self.gateway.admission().close();
        self.agents.close();
        self.stop_watches.trigger();
        self.stop_agents.trigger();
        self.stop_leasing.trigger();
        self.market_data.end_streams();
        self.served.stop_accepting.trigger();
        self.served.stop.trigger();
    }

    /// Nobody bids any more, so nobody's credits are held here while the exchange is down.
    async fn release_credits(&self) {
        self.stop_watches.trigger();
        let released = self.gateway.buying_power.release_all_idle();
        match tokio::time::timeout(RELEASE_TIMEOUT, released).await {
            Ok(Ok(released)) => tracing::info!(%released, "buying power went back to its owners"),
            Ok(Err(error)) => tracing::warn!(%error, "buying power stays reserved until the next start"),
            Err(_late) => tracing::warn!("some buying power stays reserved until the next start"),
        }
    }

    async fn in_order(self) -> Result<()> {
        let admission = self.gateway.admission();
        tracing::info!(jobs = admission.in_flight(), "stopping: no new jobs are taken");
        admission.close();
        self.agents.close();
        self.health.stopping().await;
        self.served.stop_accepting.trigger();
        self.order_entry.begin_stop().await;
        if tokio::time::timeout(self.drain_timeout, admission.emptied())
            .await
            .is_err()
        {
            tracing::warn!(
                jobs = admission.in_flight(),
                "jobs did not end in time and are ended now"
            );
        }
        // What the next start would do first: every order that is left ends, with a report to its owner.
        let lost = self.handle.apply(Command::LoseSessions(LoseSessions::All)).await;
        lost.context("could not end the sessions")?;
        if tokio::time::timeout(REPORT_TIMEOUT, admission.emptied())
            .await
            .is_err()
        {
            tracing::warn!(
                jobs = admission.in_flight(),
                "clients did not hear how their jobs ended"
            );
        }
        if tokio::time::timeout(REPORT_TIMEOUT, self.order_entry.ended())
            .await
            .is_err()
        {
            tracing::warn!("not every order-entry session heard that the exchange stops");
        }
        self.release_credits().await;
        self.stop_agents.trigger();
        if tokio::time::timeout(REPORT_TIMEOUT, self.agents.ended())
            .await
            .is_err()
        {
            tracing::warn!("not every Island heard that the exchange stops");
        }
        self.stop_leasing.trigger();
        self.market_data.end_streams();
        self.served.stop.trigger();
        self.served.ended.await.context("the server broke")?;
        self.leasing.await.context("leasing broke")?;
        self.idle_watch
            .await
            .context("the watch for idle credits broke")?;
        self.reconcile_watch
            .await
            .context("the comparison of the books broke")?;
        self.reporting_spending
            .await
            .context("the reports of spending broke")?;
        self.journal_check
            .await
            .context("the check of the journal broke")?;
        self.sequencer
            .stop()
            .await
            .context("the journal could not be closed")?;
        // It followed the sequencer to its end.
        self.following.await.context("market data broke")?.ok();
        self.recalling
            .await
            .context("the look at the trades of before broke")?;
        self.following_orders.await.context("order entry broke")?;
        self.following_spending
            .await
            .context("the meter of spending broke")?;
        let spending = self.gateway.spending.clone();
        match tokio::time::timeout(SETTLE_TIMEOUT, report_once(&spending)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "billing does not know all that keys have spent"),
            Err(_late) => tracing::warn!("billing does not know all that keys have spent"),
        }
        self.outbox
            .finish(SETTLE_TIMEOUT)
            .await
            .context("could not settle what was left")?;
        tracing::info!("stopped");
        Ok(())
    }
}
