//! `atoll explain`: why an order does not trade.

use anyhow::Result;
use clap::{Args, Subcommand};
use domain::Price;
use proto::exchange::v1 as wire;
use proto::types::v1 as types;

use crate::Client;
use crate::bid::TierArgument;
use crate::client::explain;
use crate::show;
use crate::terms::{Terms, limit};

/// What to explain.
#[derive(Debug, Subcommand)]
pub(crate) enum Explain {
    /// Why nobody takes a bid: cell by cell what is quoted and what keeps it away, and who queues before you.
    ///
    /// A bid that rests: `atoll explain bid --order ord_4T`. One that you think of:
    /// `atoll explain bid smollm2-135m-instruct-q4_1 --limit 0.01 --min-tier server`.
    Bid(Client<Bid>),
    /// Why an ask gets no jobs: what keeps it from a buyer, how many come first, and the best price.
    ///
    /// One of your Island's that rests: `atoll explain ask --order ord_C --region eu-west`. One that you think of:
    /// `atoll explain ask smollm2-135m-instruct-q4_1 --at us-east --tier phone --price 0.02`.
    Ask(Client<Ask>),
    /// What a halted model would trade if it resumed now, cell by cell.
    Halt(Client<Halted>),
}

/// A model that is halted.
#[derive(Args, Debug)]
pub(crate) struct Halted {
    /// The model.
    model: String,
}

/// A bid.
#[derive(Args, Debug)]
pub(crate) struct Bid {
    /// What an imagined bid would buy; `atoll models` lists the models.
    #[arg(required_unless_present = "order", conflicts_with = "order")]
    model: Option<String>,
    /// One of your bids that rest; `atoll orders` lists them.
    #[arg(long, value_name = "ORDER")]
    order: Option<String>,
    #[command(flatten)]
    terms: Terms,
}

/// An ask.
#[derive(Args, Debug)]
pub(crate) struct Ask {
    /// What an imagined ask would sell.
    #[arg(required_unless_present = "order", conflicts_with = "order", requires_all = ["at", "tier", "price"])]
    model: Option<String>,
    /// One of your Islands' asks that rest.
    #[arg(long, value_name = "ORDER")]
    order: Option<String>,
    /// The region of an imagined ask.
    #[arg(long, value_name = "REGION")]
    at: Option<String>,
    /// The tier of an imagined ask.
    #[arg(long, value_enum)]
    tier: Option<TierArgument>,
    /// The price of an imagined ask, in credits per 1,000 work units.
    #[arg(long, value_name = "CREDITS", value_parser = limit, allow_hyphen_values = true)]
    price: Option<Price>,
    #[command(flatten)]
    buyer: Terms,
}

/// Explains it.
pub(crate) async fn run(subject: Explain) -> Result<()> {
    let text = match subject {
        Explain::Bid(Client { ask, connection }) => {
            let mut client = connection.explanations().await?;
            let answer = client.explain_bid(ask.request()).await;
            render_bid(&answer.map_err(|status| explain(&status))?.into_inner())
        }
        Explain::Ask(Client { ask, connection }) => {
            let mut client = connection.explanations().await?;
            let answer = client.explain_ask(ask.request()).await;
            render_ask(&answer.map_err(|status| explain(&status))?.into_inner())
        }
        Explain::Halt(Client { ask, connection }) => {
            let mut client = connection.explanations().await?;
            let request = wire::GetIndicativeVolumeRequest { model: ask.model };
            let answer = client.get_indicative_volume(request).await;
            render_halt(&answer.map_err(|status| explain(&status))?.into_inner())
        }
    };
    print!("{text}");
    Ok(())
}

impl Bid {
    fn request(self) -> wire::ExplainBidRequest {
        let bid = match self.order {
            Some(order) => wire::explain_bid_request::Bid::OrderId(order),
            None => wire::explain_bid_request::Bid::Imagined(wire::ImaginedBid {
                model: self.model.unwrap_or_default(),
                terms: Some(self.terms.to_wire()),
            }),
        };
        wire::ExplainBidRequest { bid: Some(bid) }
    }
}

impl Ask {
    fn request(self) -> wire::ExplainAskRequest {
        wire::ExplainAskRequest {
            buyer: Some(self.buyer.to_wire()),
            ask: Some(self.subject()),
        }
    }

    fn subject(self) -> wire::explain_ask_request::Ask {
        let Some(model) = self.model else {
            return wire::explain_ask_request::Ask::OrderId(self.order.unwrap_or_default());
        };
        let tier = self.tier.map_or(types::Tier::Unspecified, TierArgument::to_wire);
        wire::explain_ask_request::Ask::Imagined(wire::CellPrice {
            cell: Some(types::Cell {
                model,
                region: self.at.unwrap_or_default(),
                tier: tier.into(),
                band: types::KarmaBand::Unspecified.into(),
            }),
            price: self.price.map_or(0, Price::get),
        })
    }
}

fn render_ask(standing: &wire::ExplainAskResponse) -> String {
    let ask = standing.ask.clone().unwrap_or_default();
    let mut text = format!(
        "at sequence {}: {} at {}, {} ms from the buyer\n",
        standing.sequence,
        show::place(ask.cell.as_ref()),
        show::price(ask.price),
        standing.rtt_ms
    );
    if standing.filters.is_empty() {
        text.push_str(&match standing.jobs_ahead {
            0 => "the buyer's next job goes here\n".to_owned(),
            jobs => format!("{} asks for {jobs} jobs come first\n", standing.asks_ahead),
        });
    } else {
        text.push_str(&format!("kept from this buyer: {}\n", reasons(&standing.filters)));
    }
    text.push_str(&match standing.best_price {
        Some(best) => format!("the best price for him is {}\n", show::price(best)),
        None => "nobody could serve him now\n".to_owned(),
    });
    text
}

fn render_bid(standing: &wire::ExplainBidResponse) -> String {
    let limit = standing.limit.map_or_else(
        || "any price".to_owned(),
        |limit| format!("at most {}", show::price(limit)),
    );
    let mut text = format!(
        "at sequence {}: {} for {limit}\n",
        standing.sequence, standing.model
    );
    let mut rows = vec![
        ["where", "rtt", "free at", "busy at", "kept from it by"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let price = |price: Option<u64>| price.map_or_else(|| "-".to_owned(), show::price);
    rows.extend(standing.cells.iter().map(|cell| {
        vec![
            show::place(cell.cell.as_ref()),
            format!("{} ms", cell.rtt_ms),
            price(cell.free_price),
            price(cell.busy_price),
            reasons(&cell.filters),
        ]
    }));
    text.push_str(&show::table(&rows));
    if standing.cells.is_empty() {
        text.push_str("no Island quotes this model now\n");
    }
    if let Some(best) = &standing.best {
        text.push_str(&format!(
            "the lowest quote that it could take is {} ({}); {} bids for {} jobs come before it there\n",
            show::price(best.price),
            show::place(best.cell.as_ref()),
            standing.bids_ahead,
            standing.jobs_ahead
        ));
    }
    if let Some(nearest) = &standing.alternative {
        text.push_str(&format!(
            "nobody who quotes could take it; the nearest that quotes is {} at {}\n",
            show::place(nearest.cell.as_ref()),
            show::price(nearest.price)
        ));
    }
    text
}

fn render_halt(indicative: &wire::GetIndicativeVolumeResponse) -> String {
    if !indicative.halted {
        return "the model is not halted: it trades\n".to_owned();
    }
    let mut rows = vec![["where", "jobs", "lowest", "highest"].map(str::to_owned).to_vec()];
    rows.extend(indicative.volumes.iter().map(|volume| {
        vec![
            show::place(volume.cell.as_ref()),
            volume.jobs.to_string(),
            show::price(volume.lowest),
            show::price(volume.highest),
        ]
    }));
    format!(
        "at sequence {}, a resume would trade\n{}",
        indicative.sequence,
        show::table(&rows)
    )
}

/// Filters in words, `nothing` if there are none.
fn reasons(filters: &[i32]) -> String {
    let word = |filter: &i32| match wire::Filter::try_from(*filter) {
        Ok(wire::Filter::Halted) => "a halt of the model",
        Ok(wire::Filter::Region) => "its region",
        Ok(wire::Filter::Tier) => "its tier",
        Ok(wire::Filter::Karma) => "its karma",
        Ok(wire::Filter::Excluded) => "the buyer's exclusion",
        Ok(wire::Filter::SameOwner) => "having one owner with the bid",
        Ok(wire::Filter::Busy) => "having no free slot",
        Ok(wire::Filter::TooDear) => "its price",
        Ok(wire::Filter::Unspecified) | Err(_) => "something newer than this program",
    };
    if filters.is_empty() {
        return "nothing".to_owned();
    }
    filters.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn cell(region: &str, tier: types::Tier) -> Option<types::Cell> {
        Some(types::Cell {
            model: "m".to_owned(),
            region: region.to_owned(),
            tier: tier.into(),
            band: 0,
        })
    }

    #[test]
    fn a_bid_reads_cell_by_cell() {
        let standing = wire::ExplainBidResponse {
            sequence: 7,
            model: "m".to_owned(),
            limit: Some(10_000_000),
            cells: vec![
                wire::CellStanding {
                    cell: cell("eu-west", types::Tier::Laptop),
                    rtt_ms: 5,
                    free_price: Some(20_000_000),
                    busy_price: None,
                    filters: vec![wire::Filter::TooDear.into()],
                },
                wire::CellStanding {
                    cell: cell("us-east", types::Tier::Phone),
                    rtt_ms: 90,
                    free_price: None,
                    busy_price: Some(5_000_000),
                    filters: vec![wire::Filter::Tier.into(), wire::Filter::Busy.into()],
                },
            ],
            best: Some(wire::CellPrice {
                cell: cell("eu-west", types::Tier::Laptop),
                price: 20_000_000,
            }),
            bids_ahead: 2,
            jobs_ahead: 3,
            alternative: None,
        };
        expect![[r#"
            at sequence 7: m for at most 0.01
            where            rtt    free at  busy at  kept from it by
            eu-west, laptop  5 ms   0.02     -        its price
            us-east, phone   90 ms  -        0.005    its tier, having no free slot
            the lowest quote that it could take is 0.02 (eu-west, laptop); 2 bids for 3 jobs come before it there
        "#]].assert_eq(&render_bid(&standing));
    }

    #[test]
    fn an_ask_says_what_keeps_it_or_who_comes_first() {
        let standing = wire::ExplainAskResponse {
            sequence: 7,
            ask: Some(wire::CellPrice {
                cell: cell("eu-west", types::Tier::Laptop),
                price: 20_000_000,
            }),
            rtt_ms: 5,
            filters: Vec::new(),
            asks_ahead: 2,
            jobs_ahead: 4,
            best_price: Some(15_000_000),
        };
        let kept = wire::ExplainAskResponse {
            filters: vec![wire::Filter::Region.into()],
            best_price: None,
            ..standing.clone()
        };
        expect![[r#"
            at sequence 7: eu-west, laptop at 0.02, 5 ms from the buyer
            2 asks for 4 jobs come first
            the best price for him is 0.015
            at sequence 7: eu-west, laptop at 0.02, 5 ms from the buyer
            kept from this buyer: its region
            nobody could serve him now
        "#]]
        .assert_eq(&format!("{}{}", render_ask(&standing), render_ask(&kept)));
    }
}
