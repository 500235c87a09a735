//! The commands of `island-agent`, which `atoll island` offers too.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use service::shutdown::Shutdown;
use tokio::sync::watch;

use crate::config::{Config, RunArgs, RunnerChoice, default_data};
use crate::status::Status;
use crate::{earnings, start};
use runner::candle;

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

/// What stands below the options of `run`, whatever the program that offers it is called.
#[must_use]
pub fn how_to_run(program: &str) -> String {
    format!(
        "\
Example:
  ATOLL_API_KEY=atoll_sk_... {program} run --exchange http://127.0.0.1:8080 \\
      --region eu-west --model smollm2-135m-instruct-q4_1 --price 0.02 --data ./island

It fetches the model if it is missing, measures this machine, and opens a session. The exchange
measures too, with a short unpaid job, and assigns a tier; then an ask rests in the book and jobs
come. A machine that is too busy to earn a tier is measured again every half minute.

Ctrl-C stops taking jobs, finishes what runs and exits; a second Ctrl-C exits at once.
What was earned is appended to earnings.jsonl in the data folder; `{program} earnings` adds it up."
    )
}

/// Prints what the earnings log of a data folder adds up to; without one, of the folder that `run` takes unless told
/// otherwise.
///
/// # Errors
/// When the log cannot be read or the output not written.
pub fn earnings(data: Option<&Path>) -> anyhow::Result<()> {
    let data = data.map(Path::to_owned).or_else(default_data);
    let data = data.context("no data folder is known here: name one with --data DIR")?;
    let summary = earnings::summarise(&data).context("could not read the earnings log")?;
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
