//! `atoll operator`: what stops and bounds trading. With the operator's token, which `atoll up` keeps in its state folder.

use anyhow::Result;
use clap::{Args, Subcommand};
use domain::Price;
use proto::exchange::v1 as wire;

use crate::Client;
use crate::client::explain;
use crate::show;
use crate::terms::limit;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Operator {
    /// Stop matching in a model: orders rest, nothing trades, jobs that run go on.
    Halt(Client<Named>),
    /// Let a halted model trade again: what has come to overlap trades at once.
    Resume(Client<Named>),
    /// Bound a model's prices: no ask below, no bid above. Without prices, lift the bound.
    ///
    /// `atoll operator price-band smollm2-135m-instruct-q4_1 --lowest 0.001 --highest 1`
    PriceBand(Client<Band>),
    /// Let an account buy again that was suspended because its books differed.
    Lift(Client<Lift>),
}

/// A model.
#[derive(Args, Debug)]
pub(crate) struct Named {
    /// The model; `atoll models` lists them.
    model: String,
}

/// An account that may buy again.
#[derive(Args, Debug)]
pub(crate) struct Lift {
    /// The account, such as `acc_1`.
    account: String,
    /// Who lifts it; for the exchange's log.
    #[arg(long, value_name = "NAME")]
    author: String,
    /// What was found and mended; for the exchange's log.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// A price band.
#[derive(Args, Debug)]
pub(crate) struct Band {
    /// The model.
    model: String,
    /// No ask below this, in credits per 1,000 work units.
    #[arg(
        long,
        value_name = "CREDITS",
        requires = "highest",
        allow_hyphen_values = true
    )]
    lowest: Option<Price>,
    /// No bid above this.
    #[arg(long, value_name = "CREDITS", value_parser = limit, requires = "lowest", allow_hyphen_values = true)]
    highest: Option<Price>,
}

/// Does it.
pub(crate) async fn run(operator: Operator) -> Result<()> {
    match operator {
        Operator::Halt(Client { ask, connection }) => {
            let (model, mut client) = (ask.model, connection.operator().await?);
            let request = wire::HaltModelRequest { model: model.clone() };
            client
                .halt_model(request)
                .await
                .map_err(|status| explain(&status))?;
            println!("{model} is halted: orders rest, nothing trades until `atoll operator resume {model}`");
        }
        Operator::Resume(Client { ask, connection }) => {
            let (model, mut client) = (ask.model, connection.operator().await?);
            let request = wire::ResumeModelRequest { model: model.clone() };
            let answer = client
                .resume_model(request)
                .await
                .map_err(|status| explain(&status))?;
            let jobs = answer.into_inner().jobs;
            println!("{model} trades again; {jobs} jobs traded at once");
        }
        Operator::Lift(Client { ask, connection }) => {
            let mut client = connection.operator().await?;
            let account_id = ask.account.clone();
            let request = wire::LiftSuspensionRequest {
                account_id,
                author: ask.author,
                reason: ask.reason,
            };
            let answer = client
                .lift_suspension(request)
                .await
                .map_err(|status| explain(&status))?;
            if answer.into_inner().was_suspended {
                println!(
                    "{} may buy again; if its books differ still, it is suspended again",
                    ask.account
                );
            } else {
                println!("{} was not suspended", ask.account);
            }
        }
        Operator::PriceBand(Client { ask, connection }) => {
            let mut client = connection.operator().await?;
            let Band {
                model,
                lowest,
                highest,
            } = ask;
            let band = lowest.zip(highest).map(|(lowest, highest)| wire::PriceBand {
                lowest: lowest.get(),
                highest: highest.get(),
            });
            let request = wire::SetPriceBandRequest {
                model: model.clone(),
                band,
            };
            client
                .set_price_band(request)
                .await
                .map_err(|status| explain(&status))?;
            match band {
                Some(band) => println!(
                    "{model} trades from {} to {} credits per 1,000 units; orders that rest stay",
                    show::price(band.lowest),
                    show::price(band.highest)
                ),
                None => println!("{model} has no price band"),
            }
        }
    }
    Ok(())
}
