//! The first real job, shown as it happens, and everything about it checked: the answer, the charge, the receipt, and
//! that no credit came from nowhere.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use domain::{Price, Units, fee_on};
use proto::billing::v1::{AuditRequest, AuditResponse, GetBalanceRequest};
use proto::exchange::v1::{GetBalanceResponse, GetStatusRequest};
use proto::market_data::v1::market_data_service_client::MarketDataServiceClient;
use proto::market_data::v1::{DepthSnapshot, GetDepthRequest};
use tokio::time::Instant;

use super::accounts::Billing;
use crate::account::render_balance;
use crate::bid::{self, Answer, Bid};
use crate::client::{self, Connection, Exchange, explain};
use crate::state::State;
use crate::{depth, show};

const QUESTION: &str = "What is the capital of France?";
const TOKENS_MAX: u32 = 64;
/// How long billing may take to book the job.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// All credits that a job can move, as billing has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Purse {
    consumer: i64,
    island_owner: i64,
    fees: i64,
    pool: i64,
}

impl Purse {
    fn total(self) -> Result<i64> {
        [self.consumer, self.island_owner, self.fees, self.pool]
            .into_iter()
            .try_fold(0_i64, i64::checked_add)
            .context("the credits do not fit 64 bits")
    }
}

/// Runs it, shows it, checks it.
///
/// # Errors
/// Says what was not as it should be.
pub(crate) async fn run(
    model: &str,
    state: &State,
    url: &str,
    operator: &mut Exchange,
    books: &mut Billing,
) -> Result<()> {
    let mut consumer = Connection::exchange_at(url, &state.consumer.api_key).await?;
    let before = purse(books, state).await?;
    let book = snapshot(url, model).await?;
    println!("\nThe book before:\n{}", depth::render(&book));
    println!("Before: {}", render_balance(&balance(&mut consumer).await?));

    println!("The bid: \"{QUESTION}\", at most {TOKENS_MAX} tokens, at most twice the best ask");
    let bid = Bid::plain(model, QUESTION, TOKENS_MAX);
    let answer = bid::submit(&mut consumer, bid, &mut io::stdout(), &mut io::stdout()).await?;
    println!("Why that Island: {}", why(&book, &answer));
    println!("{}", bid::render_bill(&answer.completed));
    ensure!(answer.receipts_verified > 0, "the job came with no receipt");
    println!(
        "{} receipt(s): both signatures and the chain of tokens verified",
        answer.receipts_verified
    );

    ensure!(
        answer.text.contains("Paris"),
        "the answer is not sensible: {:?}",
        answer.text
    );
    check_bill(&answer)?;
    let after = settled(operator, books, state, before, &answer).await?;
    println!("\nAfter: {}", render_balance(&balance(&mut consumer).await?));
    let earned = after
        .island_owner
        .checked_sub(before.island_owner)
        .context("the earnings do not fit")?;
    println!(
        "The Island's owner earned {} (pending), fees {}, failover pool {}",
        show::credits(earned),
        show::credits(after.fees),
        show::credits(after.pool)
    );
    println!(
        "Consumer, Island, fees and pool add up to what they were: {} credits",
        show::credits(after.total()?)
    );
    Ok(())
}

async fn snapshot(url: &str, model: &str) -> Result<DepthSnapshot> {
    let mut market_data = MarketDataServiceClient::new(client::connect(url).await?);
    let answer = market_data
        .get_depth(GetDepthRequest {
            model: model.to_owned(),
        })
        .await;
    answer
        .map_err(|status| explain(&status))?
        .into_inner()
        .snapshot
        .context("the exchange sent no depth")
}

async fn balance(consumer: &mut Exchange) -> Result<GetBalanceResponse> {
    let answer = consumer
        .get_balance(proto::exchange::v1::GetBalanceRequest {})
        .await;
    Ok(answer.map_err(|status| explain(&status))?.into_inner())
}

fn why(book: &DepthSnapshot, answer: &Answer) -> String {
    let Some(matched) = answer.matches.first() else {
        return "nobody took it".to_owned();
    };
    let dearer = book
        .asks
        .iter()
        .filter(|level| level.price > matched.price && level.jobs > 0)
        .min_by_key(|level| level.price);
    let next = dearer.map_or_else(String::new, |level| {
        format!(
            "; the next would have been {} ({}, {})",
            show::price(level.price),
            level.region,
            show::tier(level.tier)
        )
    });
    format!(
        "{} was the lowest price among {} eligible asks{next}",
        show::price(matched.price),
        book.asks.len()
    )
}

/// The charge is price × units, rounded up once; the fee is 2 % of it, rounded down. (A bill of several segments, after a
/// failover, was compared with its receipts.)
fn check_bill(answer: &Answer) -> Result<()> {
    let bill = answer
        .completed
        .bill
        .clone()
        .context("the job came with no bill")?;
    let [segment] = bill.segments.as_slice() else {
        ensure!(!bill.segments.is_empty(), "the bill has no segment");
        return Ok(());
    };
    let charge = Price::new(segment.price)?
        .cost_of(Units::new(segment.units))
        .context("the charge does not fit")?;
    ensure!(
        bill.charge_nano == charge.as_nano(),
        "charged {}, price × units is {charge}",
        show::credits(bill.charge_nano)
    );
    // The bid met asks that rested, so it took.
    let fee = fee_on(charge);
    ensure!(
        bill.fee_nano == fee.as_nano(),
        "the fee is {}, not {fee} for a taker",
        show::credits(bill.fee_nano)
    );
    let usage = answer.completed.usage.context("the job came with no usage")?;
    ensure!(
        usage.units == segment.units,
        "{} units were billed, {} are in the usage",
        segment.units,
        usage.units
    );
    println!(
        "charge = price × units = {} × {} / 1,000 = {charge}, rounded up",
        show::price(segment.price),
        segment.units
    );
    Ok(())
}

/// Waits until the job is booked, then compares what everybody has with what they had.
async fn settled(
    operator: &mut Exchange,
    books: &mut Billing,
    state: &State,
    before: Purse,
    answer: &Answer,
) -> Result<Purse> {
    let deadline = Instant::now()
        .checked_add(SETTLE_TIMEOUT)
        .context("the clock is at its end")?;
    let bill = answer
        .completed
        .bill
        .clone()
        .context("the job came with no bill")?;
    let paid = bill
        .charge_nano
        .checked_add(bill.fee_nano)
        .context("the bill does not fit")?;
    let after = loop {
        let after = purse(books, state).await?;
        if before.consumer.checked_sub(after.consumer) == Some(paid) {
            break after;
        }
        ensure!(
            Instant::now() < deadline,
            "billing had not booked the job after {} s",
            SETTLE_TIMEOUT.as_secs()
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    };
    ensure!(
        before.total()? == after.total()?,
        "consumer, Island, fees and pool do not add up to what they were"
    );
    let audit = audit(books).await?;
    ensure!(
        audit.clean && audit.sum_nano == 0,
        "billing's audit found: {}",
        audit.findings.join("; ")
    );
    compare_buying_power(operator, books).await?;
    Ok(after)
}

/// What the exchange may spend is what billing has reserved for it.
async fn compare_buying_power(operator: &mut Exchange, books: &mut Billing) -> Result<()> {
    let answer = operator.get_status(GetStatusRequest {}).await;
    for power in answer
        .map_err(|status| explain(&status))?
        .into_inner()
        .buying_power
    {
        let balance = books
            .get_balance(GetBalanceRequest {
                account_id: power.account_id.clone(),
            })
            .await;
        let reserved = balance
            .map_err(|status| explain(&status))?
            .into_inner()
            .reserved_nano;
        let held = power
            .available_nano
            .checked_add(power.bound_nano)
            .context("the buying power does not fit")?;
        ensure!(
            held == reserved,
            "{}: the engine holds {held}, billing reserved {reserved}",
            power.account_id
        );
    }
    Ok(())
}

async fn purse(books: &mut Billing, state: &State) -> Result<Purse> {
    let consumer = worth(books, &state.consumer.account).await?;
    let island_owner = worth(books, &state.owner.account).await?;
    let audit = audit(books).await?;
    Ok(Purse {
        consumer,
        island_owner,
        fees: audit.fees_nano,
        pool: audit.pool_nano,
    })
}

async fn worth(books: &mut Billing, account: &str) -> Result<i64> {
    let answer = books
        .get_balance(GetBalanceRequest {
            account_id: account.to_owned(),
        })
        .await;
    let balance = answer.map_err(|status| explain(&status))?.into_inner();
    [
        balance.available_nano,
        balance.reserved_nano,
        balance.pending_nano,
    ]
    .into_iter()
    .try_fold(0_i64, i64::checked_add)
    .context("the balance does not fit 64 bits")
}

async fn audit(books: &mut Billing) -> Result<AuditResponse> {
    Ok(books
        .audit(AuditRequest {})
        .await
        .map_err(|status| explain(&status))?
        .into_inner())
}
