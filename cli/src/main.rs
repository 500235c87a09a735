//! `atoll`: everything in one process, and the client commands.

mod account;
mod ask;
mod bid;
mod client;
mod depth;
mod explain;
mod island;
mod journal;
mod operator;
mod orders;
mod receipt;
mod show;
mod sign_up;
mod state;
mod terms;
mod up;
mod wallet;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use client::Connection;

/// A compute exchange: people's machines sell AI inference, developers buy it, an order book sets the price.
///
/// Begin with `atoll up`: it starts billing, an exchange and three Islands on this machine. Then, in another terminal,
/// `atoll bid smollm2-135m-instruct-q4_1 "What is the capital of France?"`. All credits are virtual.
#[derive(Debug, Parser)]
#[command(name = "atoll", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start billing, an exchange and three Islands on this machine.
    Up(up::Up),
    /// Buy one answer.
    Bid(Client<bid::Bid>),
    /// Offer jobs of one of your Islands at a price of your own, and see them sold.
    Ask(Client<ask::Ask>),
    /// Cancel orders: what rests will not trade, what runs is stopped.
    Cancel(orders::Cancel),
    /// Lower what is left of an order; it keeps its place.
    Amend(orders::Amend),
    /// Show the books of a model.
    Depth(Client<depth::Depth>),
    /// Say why an order does not trade.
    #[command(subcommand)]
    Explain(explain::Explain),
    /// Show your jobs: who did them, and what they cost.
    Jobs(Connection),
    /// Show your live orders.
    Orders(orders::Orders),
    /// Show what you have, and where it is.
    Balance(Connection),
    /// Your money: balance, history, statements, payouts, API keys. And the operator's audit.
    #[command(subcommand)]
    Wallet(wallet::Wallet),
    /// Show the models on the market.
    Models(Connection),
    /// Make an account with a starter grant at an exchange.
    SignUp(sign_up::SignUp),
    /// Sell this machine's inference.
    #[command(subcommand)]
    Island(island::Island),
    /// Halt, resume and bound the trading of a model.
    #[command(subcommand)]
    Operator(operator::Operator),
    /// Look into an exchange's journal, check it, rebuild the market as it was.
    #[command(subcommand)]
    Journal(journal::Journal),
}

/// A command that asks a running exchange.
#[derive(Args, Debug)]
pub(crate) struct Client<T: Args> {
    #[command(flatten)]
    pub(crate) ask: T,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

fn main() -> ExitCode {
    service::tls::install_provider();
    let outcome = match Arguments::parse().command {
        // It may start this program again, which no runtime survives.
        Command::Island(island) => island::run(island),
        Command::Up(up) => in_runtime(up::run(up)),
        Command::SignUp(asked) => in_runtime(sign_up::run(asked)),
        Command::Bid(Client { ask, connection }) => in_runtime(bid::run(&connection, ask)),
        Command::Ask(Client { ask, connection }) => in_runtime(ask::run(&connection, ask)),
        Command::Depth(Client { ask, connection }) => in_runtime(depth::run(&connection, ask)),
        Command::Explain(subject) => in_runtime(explain::run(subject)),
        Command::Operator(operator) => in_runtime(operator::run(operator)),
        Command::Journal(journal) => journal::run(journal),
        Command::Jobs(connection) => in_runtime(account::jobs(&connection)),
        Command::Orders(orders) => in_runtime(orders::list(&orders)),
        Command::Cancel(cancel) => in_runtime(orders::cancel(cancel)),
        Command::Amend(amend) => in_runtime(orders::amend(amend)),
        Command::Balance(connection) => in_runtime(account::balance(&connection)),
        Command::Wallet(wallet) => in_runtime(wallet::run(wallet)),
        Command::Models(connection) => in_runtime(account::models(&connection)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn in_runtime(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("could not start the runtime")?;
    runtime.block_on(work)
}
