//! Replays an order flow (`benches/workload/README.md`) through the production engine, everything on, and prints one
//! line of JSON.

use std::path::PathBuf;
use std::process::ExitCode;

use benches::book_replay::{Replay, run};
use clap::Parser;

/// Replays an order flow through the engine.
#[derive(Debug, Parser)]
struct Arguments {
    /// The flow, as `orderflow.py` writes it.
    file: PathBuf,
    /// How many books the flow has.
    #[arg(long, default_value_t = 1)]
    books: u32,
    /// Over how many accounts and Islands its orders are spread.
    #[arg(long, default_value_t = 1_000)]
    accounts: u64,
    /// How often it is replayed; the median is reported.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let replay = Replay {
        file: arguments.file,
        books: arguments.books,
        accounts: arguments.accounts,
        runs: arguments.runs.max(1),
    };
    match run(&replay) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
