//! `atoll wallet usage`: what was bought and sold, by day, model and side.

use anyhow::Result;
use clap::Args;
use domain::Timestamp;
use proto::billing::v1 as billing;
use proto::exchange::v1 as wire;
use serde_json::json;

use super::WORDS;
use super::statement::moment;
use crate::client::{Account, explain_as};
use crate::show;

/// How far back it goes unless told otherwise.
const DAYS: u64 = 30;
const MICROS_PER_DAY: u64 = 24 * 3_600 * 1_000_000;

/// Of which time.
#[derive(Args, Debug)]
pub(crate) struct Usage {
    /// The first day or moment (UTC): `2026-01-31` or `2026-01-31T12:00:00Z`; thirty days ago unless given.
    #[arg(long, value_parser = moment)]
    from: Option<Timestamp>,
    /// The first day or moment that does not count any more; now unless given.
    #[arg(long, value_parser = moment)]
    until: Option<Timestamp>,
    /// Only this model.
    #[arg(long, default_value = "", hide_default_value = true)]
    model: String,
    /// One line of JSON a sum; money in nano-credits.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    account: Account,
}

/// Shows it.
pub(super) async fn run(ask: Usage) -> Result<()> {
    let now = service::clock::unix_micros();
    let until_us = ask.until.map_or(now, Timestamp::as_micros);
    let from_us = ask.from.map_or(
        until_us.saturating_sub(DAYS.saturating_mul(MICROS_PER_DAY)),
        Timestamp::as_micros,
    );
    let mut client = ask.account.wallet().await?;
    let mut sums = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = wire::ListUsageRequest {
            from_us,
            until_us,
            model: ask.model.clone(),
            page_size: 0,
            page_token,
        };
        let page = client.list_usage(request).await;
        let page = page.map_err(|status| explain_as(&status, &WORDS))?.into_inner();
        sums.extend(page.usage);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if ask.json {
        for sum in &sums {
            println!(
                "{}",
                json!({
                    "date": sum.date,
                    "model": sum.model,
                    "side": side(sum),
                    "jobs": sum.jobs,
                    "segments": sum.segments,
                    "units": sum.units,
                    "charge_nano": sum.charge_nano,
                    "fee_nano": sum.fee_nano,
                    "pool_subsidy_nano": sum.pool_subsidy_nano,
                    "compensation_nano": sum.compensation_nano,
                })
            );
        }
    } else {
        print!("{}", render(&sums));
    }
    Ok(())
}

fn render(sums: &[billing::Usage]) -> String {
    let head = ["date", "model", "side", "jobs", "units", "charge", "fee"].map(str::to_owned);
    let rows = sums.iter().map(|sum| {
        vec![
            sum.date.clone(),
            sum.model.clone(),
            side(sum).to_owned(),
            sum.jobs.to_string(),
            sum.units.to_string(),
            show::credits(sum.charge_nano),
            show::credits(sum.fee_nano),
        ]
    });
    let rows: Vec<_> = std::iter::once(head.to_vec()).chain(rows).collect();
    show::table(&rows)
}

fn side(sum: &billing::Usage) -> &'static str {
    match sum.side() {
        billing::UsageSide::Consumer => "bought",
        billing::UsageSide::IslandOwner => "sold",
        billing::UsageSide::Unspecified => "unknown",
    }
}
