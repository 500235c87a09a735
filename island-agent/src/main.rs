//! Entry point: `island-agent run` sells this machine's inference, `island-agent earnings` shows what it brought.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use island_agent::command::{self, how_to_run};
use island_agent::config::RunArgs;

/// The Island's program: sells this machine's inference on an Atoll exchange, for virtual credits.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sells this machine's inference until Ctrl-C.
    #[command(after_help = how_to_run("island-agent"))]
    Run(Box<RunArgs>),
    /// Adds up what an Island earned, from its data folder.
    Earnings {
        /// The Island's data folder; the one that `run` takes unless told otherwise.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    service::logs::init("info");
    let outcome = match Arguments::parse().command {
        Command::Run(args) => command::run(*args),
        Command::Earnings { data } => command::earnings(data.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
