//! Measures order entry and prints a line of JSON.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use serde_json::Value;

/// Times orders through a whole exchange, beside a floor that keeps nothing.
#[derive(Debug, Parser)]
struct Arguments {
    /// Over one session with many in flight, by one call at a time, or the first bids of fresh accounts.
    shape: Shape,
    /// Where to keep books and journal meanwhile: a folder on the disk to measure.
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shape {
    Bidi,
    Unary,
    FirstBid,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(measured) => {
            println!("{measured}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Value> {
    if std::env::var_os(service::logs::FILTER_VARIABLE).is_some() {
        service::logs::init("warn");
    }
    let parent = arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new()
        .prefix("atoll-order-entry-")
        .tempdir_in(parent);
    let folder = folder.context("could not make a folder for the measurement")?;
    service::tls::install_provider();
    let runtime = tokio::runtime::Runtime::new().context("could not start the runtime")?;
    runtime.block_on(async {
        match arguments.shape {
            Shape::Bidi => benches::order_entry::bidirectional(folder.path()).await,
            Shape::Unary => benches::order_entry::unary(folder.path()).await,
            Shape::FirstBid => benches::order_entry::first_bid(folder.path()).await,
        }
    })
}
