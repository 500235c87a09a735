//! `atoll`: everything in one process, and the client commands.

mod account;
mod bid;
mod client;
mod depth;
mod explain;
mod island;
mod operator;
mod receipt;
mod show;
mod state;
mod terms;
mod up;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use client::Connection;

/// A compute exchange: people's machines sell AI inference, developers buy it, an order book sets the price.
///
/// Begin with `atoll up`: it starts billing, an exchange and three Islands on this machine. Then, in another terminal,
/// `atoll bid smollm2-135m-instruct-q4_1 "What is the capital of France?"`. All credits are virtual.
#[derive(Debug, Parser)]
#[command(name = "atoll", version)]
struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start billing, an exchange and three Islands on this machine.
    Up(up::Up),
    /// Buy one answer.
    Bid(bid::Bid),
    /// Show the books of a model.
    Depth(depth::Depth),
    /// Say why an order does not trade.
    #[command(subcommand)]
    Explain(explain::Explain),
    /// Show your jobs.
    Jobs,
    /// Show your live orders.
    Orders,
    /// Show what you have.
    Balance,
    /// Show the models on the market.
    Models,
    /// Sell this machine's inference.
    #[command(subcommand)]
    Island(island::Island),
    /// Halt, resume and bound the trading of a model.
    #[command(subcommand)]
    Operator(operator::Operator),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    service::tls::install_provider();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: could not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let connection = &arguments.connection;
    match arguments.command {
        Command::Up(up) => up::run(up, connection).await,
        Command::Bid(bid) => bid::run(connection, bid).await,
        Command::Depth(depth) => depth::run(connection, depth).await,
        Command::Explain(subject) => explain::run(connection, subject).await,
        Command::Jobs => account::jobs(connection).await,
        Command::Orders => account::orders(connection).await,
        Command::Balance => account::balance(connection).await,
        Command::Models => account::models(connection).await,
        Command::Island(island) => island::run(island).await,
        Command::Operator(operator) => operator::run(connection, operator).await,
    }
}
