//! The commands of `island-agent`, which `atoll island` offers too.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use service::shutdown::Shutdown;
use tokio::sync::watch;

use crate::config::{Config, RunArgs, RunnerChoice};
use crate::runner::candle;
use crate::status::Status;
use crate::{earnings, start};

/// Runs an Island until Ctrl-C or SIGTERM. To be called first thing in `main`: it may start the program again with
/// the number of inference threads that was asked for.
///
/// # Errors
/// When the configuration has mistakes, the Island could not start, or the exchange does not want it.
pub fn run(args: RunArgs) -> anyhow::Result<()> {
    let prints_json = args.json;
    let parent = args.die_with_parent;
    let config = args.load()?;
    fix_threads(&config)?;
    if let Some(parent) = parent {
        service::process::die_with_parent(parent).context("could not follow the parent process")?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    runtime.block_on(async {
        let island = start(config, Shutdown::on_signals());
        let printer = prints_json.then(|| tokio::spawn(print(island.status())));
        let outcome = island.finished().await;
        if let Some(printer) = printer {
            // The last state is printed too.
            let _ = printer.await;
        }
        outcome
    })
}

/// Prints what the earnings log of a data folder adds up to.
///
/// # Errors
/// When the log cannot be read or the output not written.
pub fn earnings(data: &Path) -> anyhow::Result<()> {
    let summary = earnings::summarise(data).context("could not read the earnings log")?;
    let mut out = std::io::stdout().lock();
    for (model, earned) in &summary.models {
        writeln!(
            out,
            "{model}: {} credits from {} paid jobs, {} output tokens ({} jobs unpaid, canaries included)",
            earned.earned, earned.paid, earned.output_tokens, earned.unpaid
        )?;
    }
    if summary.models.is_empty() {
        writeln!(out, "nothing yet")?;
    }
    if summary.unreadable > 0 {
        writeln!(out, "{} lines were cut short by a crash", summary.unreadable)?;
    }
    writeln!(out, "credits are virtual and have no cash value")?;
    Ok(())
}

/// candle reads its thread count once, from the environment.
fn fix_threads(config: &Config) -> anyhow::Result<()> {
    match config.runner {
        #[cfg(unix)]
        RunnerChoice::Candle => {
            candle::restart_with_threads(config.threads).context("could not set the thread count")
        }
        #[cfg(not(unix))]
        RunnerChoice::Candle => Ok(()),
        RunnerChoice::Scripted(_) => Ok(()),
    }
}

/// Prints each state as a line of JSON, for a program that waits.
async fn print(mut status: watch::Receiver<Status>) {
    loop {
        let line = serde_json::to_string(&*status.borrow_and_update());
        let line = line.expect("a status has only text keys");
        // Whoever closed the pipe no longer waits.
        if writeln!(std::io::stdout(), "{line}").is_err() || status.changed().await.is_err() {
            return;
        }
    }
}
