//! The exchange's own program: reads its configuration and serves until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use exchange::config::{Config, SAMPLE};
use service::shutdown::Shutdown;

/// Runs an Atoll exchange: the order book, the doors to it, and the jobs that come of it.
///
/// It needs a billing service (see `billing --help`) and at least one installed model (`island-agent` installs them).
/// Consumers come over HTTP (OpenAI's chat API under /v1) and gRPC, Islands over gRPC, all on one port.
///
/// Ctrl-C stops it: no new jobs are taken, those that run may finish, all is settled and synced. A second Ctrl-C stops at
/// once; the journal brings everything back at the next start.
#[derive(Debug, Parser)]
#[command(version, after_long_help = format!("The configuration file, with every default:\n\n{SAMPLE}"))]
struct Arguments {
    /// The configuration file; `--help` shows one with every key.
    #[arg(long, short, env = "ATOLL_EXCHANGE_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Only reads the configuration, and says what is wrong with it.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    service::logs::init("info");
    service::tls::install_provider();
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("exchange: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> Result<()> {
    let config = Config::load(Some(&arguments.config))?;
    if arguments.check {
        println!("{} is fine", arguments.config.display());
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new().context("could not start the runtime")?;
    runtime.block_on(async { exchange::run(config, Shutdown::on_signals()).await })
}
