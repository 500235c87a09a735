//! Chores: `cargo xtask up`, `test`, `ci`, `codegen`, `measure`.
//!
//! Small on purpose: it is compiled before anything else, so it uses none of our crates and few of others'.

mod ci;
mod codegen;
mod measure;
mod postgres;
mod test;
mod tools;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Atoll's chores.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Build Atoll for this machine, start all of it here, and run a first real job.
    Up(up::Up),
    /// Install what the tests need, start what they need, and run them all.
    Test(test::Test),
    /// Do what CI does: formatting, lints, then every test.
    Ci,
    /// Compile the `.proto` files again and write the generated code.
    Codegen,
    /// Measure one row and print it as a line of JSON.
    Measure(measure::Measure),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.chore {
        Chore::Up(up) => up::run(&up),
        Chore::Test(test) => test::run(&test),
        Chore::Ci => ci::run(),
        Chore::Codegen => codegen::run(),
        Chore::Measure(measure) => measure::run(&measure),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
