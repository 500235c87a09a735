//! Runs the implied and the thin workload through the production engine and prints a line of JSON for each.

use std::process::ExitCode;

use benches::workloads::{implied, thin};
use clap::Parser;

/// Times bids and asks over many cells, and over many thin books.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many accounts bid in the implied workload.
    #[arg(long, default_value_t = 1_000_000)]
    accounts: u64,
}

fn main() -> ExitCode {
    let accounts = Arguments::parse().accounts.max(1);
    for report in [thin(), implied(accounts)] {
        match report {
            Ok(report) => println!("{report}"),
            Err(error) => {
                eprintln!("{error:#}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
