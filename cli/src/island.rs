//! `atoll island`: this machine as an Island.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use island_agent::command::{self, how_to_run};
use island_agent::config::RunArgs;

/// What to do as an Island.
#[derive(Debug, Subcommand)]
pub(crate) enum Island {
    /// Measure this machine, price it, quote, run the jobs that trade and earn, until Ctrl-C.
    #[command(after_help = how_to_run("atoll island"))]
    Run(Box<RunArgs>),
    /// Add up what an Island earned, from its data folder.
    Earnings {
        /// The Island's data folder; the one that `run` takes unless told otherwise.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
}

/// Does it. To be called before any runtime exists.
pub(crate) fn run(island: Island) -> Result<()> {
    service::logs::init("info");
    match island {
        Island::Run(arguments) => command::run(*arguments),
        Island::Earnings { data } => command::earnings(data.as_deref()),
    }
}
