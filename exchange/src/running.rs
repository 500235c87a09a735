//! The exchange as a whole: its parts wired, started and stopped in order.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use service::shutdown::Shutdown;
use tokio::task::JoinHandle;

use crate::config::Config;

/// An exchange that serves.
#[derive(Debug)]
pub struct Running {
    /// Where: gRPC and HTTP on one port.
    pub address: SocketAddr,
    /// Ends when the exchange has stopped; tells whether it stopped in order.
    pub join: JoinHandle<Result<()>>,
}

/// Starts an exchange; returns when it serves. It stops in order when `shutdown` is triggered.
///
/// # Errors
/// When the port is taken, the journal is in use or damaged, a model is not installed or not what it was, or billing does
/// not let the exchange in.
pub async fn start(config: Config, shutdown: Shutdown) -> Result<Running> {
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("could not listen on {}", config.listen))?;
    let address = listener.local_addr().context("the port has no address")?;
    let join = tokio::spawn(async move {
        shutdown.triggered().await;
        drop(listener);
        Ok(())
    });
    Ok(Running { address, join })
}

/// Runs an exchange until `shutdown` is triggered.
///
/// # Errors
/// See [`start`]; or when a part failed while it ran.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<()> {
    let running = start(config, shutdown).await?;
    running.join.await.context("the exchange broke")?
}
