//! `atoll depth`: the books of a model, once or as they change.

use anyhow::{Result, bail};
use clap::Args;
use proto::market_data::v1::stream_depth_response::Message;
use proto::market_data::v1::{DepthSnapshot, GetDepthRequest, StreamDepthRequest};

use crate::client::{Connection, explain};
use crate::show;

/// What to show.
#[derive(Args, Debug)]
pub(crate) struct Depth {
    /// The model; `atoll models` lists them.
    model: String,
    /// Follow the changes until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

/// Shows it.
pub(crate) async fn run(connection: &Connection, depth: Depth) -> Result<()> {
    let mut market_data = connection.market_data().await?;
    if !depth.watch {
        let request = GetDepthRequest { model: depth.model };
        let answer = market_data
            .get_depth(request)
            .await
            .map_err(|status| explain(&status))?;
        print!("{}", render(&answer.into_inner().snapshot.unwrap_or_default()));
        return Ok(());
    }
    let request = StreamDepthRequest { model: depth.model };
    let mut stream = market_data
        .stream_depth(request)
        .await
        .map_err(|status| explain(&status))?
        .into_inner();
    while let Some(update) = stream.message().await.map_err(|status| explain(&status))? {
        match update.message {
            Some(Message::Snapshot(snapshot)) => print!("{}", render(&snapshot)),
            Some(Message::Delta(delta)) => {
                for level in delta.asks {
                    let place = format!("{} {}", level.region, show::tier(level.tier));
                    println!(
                        "{}  ask {place} {} x {}",
                        delta.sequence,
                        show::price(level.price),
                        level.jobs
                    );
                }
                for level in delta.bids {
                    println!(
                        "{}  bid from {} {} x {}",
                        delta.sequence,
                        level.home_region,
                        show::price(level.price),
                        level.jobs
                    );
                }
            }
            Some(Message::Heartbeat(_)) | None => {}
        }
    }
    bail!("the exchange ended the stream")
}

/// The books of a snapshot, best price first, as a table.
pub(crate) fn render(snapshot: &DepthSnapshot) -> String {
    let mut asks = snapshot.asks.clone();
    asks.sort_by_key(|level| level.price);
    let head = |words: [&str; 4]| words.map(str::to_owned).to_vec();
    let mut rows = vec![head(["asks", "region", "tier", "jobs"])];
    rows.extend(asks.iter().map(|level| {
        vec![
            show::price(level.price),
            level.region.clone(),
            show::tier(level.tier).to_owned(),
            level.jobs.to_string(),
        ]
    }));
    let mut bids = snapshot.bids.clone();
    bids.sort_by_key(|level| std::cmp::Reverse(level.price));
    rows.push(head(["bids", "home", "at least", "jobs"]));
    rows.extend(bids.iter().map(|level| {
        let tier = show::tier(level.min_tier).to_owned();
        vec![
            show::price(level.price),
            level.home_region.clone(),
            tier,
            level.jobs.to_string(),
        ]
    }));
    let table = show::table(&rows);
    format!(
        "{} at {} (credits per 1,000 work units)\n{table}",
        snapshot.model, snapshot.sequence
    )
}
