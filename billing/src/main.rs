//! The `billing` program.

use std::path::PathBuf;
use std::process::ExitCode;

use billing::Config;
use billing::config::database_in;
use billing::store::sqlite::SqliteStore;
use clap::{Parser, Subcommand};
use service::shutdown::Shutdown;

/// Atoll's billing: accounts, keys and settlement. All credits are virtual.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// The configuration file; every default without one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks the books and prints what it finds; fails if something is wrong.
    Audit {
        /// The data folder.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    service::logs::init("info");
    service::tls::install_provider();
    let outcome = match arguments.command {
        None => serve(arguments.config).await,
        Some(Command::Audit { data }) => SqliteStore::audit_file(&database_in(&data))
            .await
            .map(|report| billing::report::print(&report)),
    };
    outcome.unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::FAILURE
    })
}

async fn serve(config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let config = Config::load(config.as_deref())?;
    billing::run(config, Shutdown::on_signals()).await?;
    Ok(ExitCode::SUCCESS)
}
