//! `atoll operator`: what stops and bounds trading. With the operator's token, which `atoll up` keeps in its state folder.

use anyhow::Result;
use clap::{Args, Subcommand};
use domain::Price;
use proto::exchange::v1 as wire;

use crate::client::{Connection, explain};
use crate::show;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Operator {
    /// Stop matching in a model: orders rest, nothing trades, jobs that run go on.
    Halt {
        /// The model.
        model: String,
    },
    /// Let a halted model trade again: what has come to overlap trades at once.
    Resume {
        /// The model.
        model: String,
    },
    /// Bound a model's prices: no ask below, no bid above. Without prices, lift the bound.
    ///
    /// `atoll operator price-band smollm2-135m-instruct-q4_1 --lowest 0.001 --highest 1`
    PriceBand(Band),
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
    #[arg(long, value_name = "CREDITS", requires = "lowest", allow_hyphen_values = true)]
    highest: Option<Price>,
}

/// Does it.
pub(crate) async fn run(connection: &Connection, operator: Operator) -> Result<()> {
    let mut client = connection.operator().await?;
    match operator {
        Operator::Halt { model } => {
            let request = wire::HaltModelRequest { model: model.clone() };
            client
                .halt_model(request)
                .await
                .map_err(|status| explain(&status))?;
            println!("{model} is halted: orders rest, nothing trades until `atoll operator resume {model}`");
        }
        Operator::Resume { model } => {
            let request = wire::ResumeModelRequest { model: model.clone() };
            let answer = client
                .resume_model(request)
                .await
                .map_err(|status| explain(&status))?;
            let jobs = answer.into_inner().jobs;
            println!("{model} trades again; {jobs} jobs traded at once");
        }
        Operator::PriceBand(Band {
            model,
            lowest,
            highest,
        }) => {
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
