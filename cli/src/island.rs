//! `atoll island`: this machine as an Island.

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use island_agent::config::RunArgs;
use service::shutdown::Shutdown;

/// What to do as an Island.
#[derive(Debug, Subcommand)]
pub(crate) enum Island {
    /// Run the agent until Ctrl-C: it measures, prices, quotes, runs jobs and earns by itself.
    Run(Box<Run>),
}

/// How to run the agent.
#[derive(Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    agent: RunArgs,
    /// The process that must not be outlived.
    #[arg(long, value_name = "PID", hide = true)]
    parent: Option<u32>,
}

/// Does it.
pub(crate) async fn run(island: Island) -> Result<()> {
    let Island::Run(run) = island;
    service::logs::init("info");
    if let Some(parent) = run.parent {
        service::process::die_with_parent(parent).context("could not be bound to the life of `atoll up`")?;
    }
    let config = run.agent.load()?;
    island_agent::run(config, Shutdown::on_signals()).await
}
