//! One word to stop, heard by every task.

use tokio_util::sync::CancellationToken;

/// A shutdown that was or will be asked for. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A shutdown that only [`Shutdown::trigger`] asks for.
    #[must_use]
    pub fn manual() -> Self {
        Self::default()
    }

    /// A shutdown that Ctrl-C or SIGTERM asks for. Must be called in a runtime.
    ///
    /// A second signal ends the process at once with status 130: the person no longer waits for the drain.
    #[must_use]
    pub fn on_signals() -> Self {
        let shutdown = Self::default();
        let heard = shutdown.clone();
        tokio::spawn(async move {
            next_signal().await;
            tracing::info!("stopping; a second signal stops at once");
            heard.trigger();
            next_signal().await;
            leave_at_once();
        });
        shutdown
    }

    /// Asks for it.
    pub fn trigger(&self) {
        self.0.cancel();
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until it is asked for.
    pub async fn triggered(&self) {
        self.0.cancelled().await;
    }

    /// A shutdown that this one triggers, and that can be triggered alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }
}

#[expect(clippy::exit, reason = "the second signal means: no more waiting")]
fn leave_at_once() {
    std::process::exit(130);
}

#[cfg(unix)]
async fn next_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        tracing::warn!("SIGTERM cannot be heard here; Ctrl-C can");
        wait_for_ctrl_c().await;
        return;
    };
    tokio::select! {
        () = wait_for_ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn next_signal() {
    wait_for_ctrl_c().await;
}

async fn wait_for_ctrl_c() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::warn!(%error, "Ctrl-C cannot be heard here");
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_trigger_reaches_clones_and_children_but_not_parents() {
        let parent = Shutdown::manual();
        let (child, clone) = (parent.child(), parent.clone());
        child.trigger();
        assert!(!parent.is_triggered());
        parent.trigger();
        clone.triggered().await;
    }
}
