//! `atoll wallet`: an account's own money. What is there, what was booked, statements, payouts, keys, and the operator's
//! proof of the books.

mod keys;
mod statement;
mod usage;

use anyhow::Result;
use clap::{Args, Subcommand};
use domain::Credits;
use proto::billing::v1 as billing;
use proto::exchange::v1 as wire;
use serde_json::json;

use crate::client::{Account, Connection, explain, explain_as};
use crate::show;

pub(crate) use statement::Statement;

/// What the wire's fields are called on this command line.
const WORDS: [(&str, &str); 10] = [
    ("spending_limit.key_nano_per_day", "--per-day"),
    ("spending_limit.user_nano_per_day", "--per-user-per-day"),
    ("from_us", "--from"),
    ("until_us", "--until"),
    ("amount_nano", "the amount"),
    ("destination", "the destination"),
    ("request_id", "--request-id"),
    ("page_token", "--page"),
    ("key_id", "the key"),
    ("filter", "--filter"),
];

/// What to do. All credits are virtual, without cash value.
#[derive(Debug, Subcommand)]
pub(crate) enum Wallet {
    /// Show what the account has, and where it is.
    Balance(Account),
    /// List what was booked, newest first.
    History(History),
    /// Make out a statement: what there was, every line, what there is, and what was bought and sold by model and day.
    Statement(Statement),
    /// Sum up what was bought and sold, by day (UTC), model and side.
    Usage(usage::Usage),
    /// Ask for a payout of earnings, list payouts, or say where the weekly run sends them.
    #[command(subcommand)]
    Payout(Payout),
    /// Make, list, rotate and revoke API keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// As the operator: prove the books, billing's own and against what the engine may spend.
    Audit(Audit),
}

/// Which transfers.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  atoll wallet history
  atoll wallet history --filter 'kind = \"charge\" AND job_id = \"job_7\"'
  atoll wallet history --all --json                                       every transfer, a line of JSON each")]
pub(crate) struct History {
    /// Only what this fits: terms on kind, job_id, counterparty and at_us, joined by AND.
    #[arg(long, default_value = "")]
    filter: String,
    /// At most so many a page.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// The page to show: what the page before ended with.
    #[arg(long, default_value = "", hide_default_value = true, conflicts_with = "all")]
    page: String,
    /// Every page, one after the other.
    #[arg(long)]
    all: bool,
    /// One line of JSON a transfer; money in nano-credits.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    account: Account,
}

/// What to do about payouts.
#[derive(Debug, Subcommand)]
pub(crate) enum Payout {
    /// Ask for a payout: once a day, 10 credits at least, of matured earnings.
    ///
    /// `atoll wallet payout request 25 virtual:savings --owner`
    Request(PayoutRequest),
    /// List payouts, newest first.
    List(PayoutList),
    /// Say where the weekly run sends earnings; with no destination, leave them where they are.
    Weekly(Weekly),
}

/// A payout.
#[derive(Args, Debug)]
pub(crate) struct PayoutRequest {
    /// How many credits.
    amount: Credits,
    /// Where to; the virtual provider takes what begins with `virtual:`.
    destination: String,
    /// Makes a repetition harmless: the same id is the same payout.
    #[arg(long)]
    request_id: Option<String>,
    #[command(flatten)]
    account: Account,
}

/// Whose payouts.
#[derive(Args, Debug)]
pub(crate) struct PayoutList {
    /// One line of JSON a payout; money in nano-credits.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    account: Account,
}

/// Where the weekly run sends earnings.
#[derive(Args, Debug)]
pub(crate) struct Weekly {
    /// Where to.
    #[arg(default_value = "", hide_default_value = true)]
    destination: String,
    #[command(flatten)]
    account: Account,
}

/// The proof of the books.
#[derive(Args, Debug)]
pub(crate) struct Audit {
    /// One line of JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Does it.
pub(crate) async fn run(wallet: Wallet) -> Result<()> {
    match wallet {
        Wallet::Balance(account) => crate::account::balance_of(&account).await,
        Wallet::History(ask) => history(ask).await,
        Wallet::Statement(ask) => statement::run(ask).await,
        Wallet::Usage(ask) => usage::run(ask).await,
        Wallet::Payout(Payout::Request(ask)) => request_payout(ask).await,
        Wallet::Payout(Payout::List(ask)) => list_payouts(&ask).await,
        Wallet::Payout(Payout::Weekly(ask)) => weekly(ask).await,
        Wallet::Keys(keys) => keys::run(keys).await,
        Wallet::Audit(ask) => audit(&ask).await,
    }
}

async fn history(ask: History) -> Result<()> {
    let mut client = ask.account.wallet().await?;
    let mut page_token = ask.page;
    loop {
        let request = wire::ListTransfersRequest {
            page_size: ask.limit,
            page_token,
            filter: ask.filter.clone(),
        };
        let page = client.list_transfers(request).await;
        let page = page.map_err(|status| explain_as(&status, &WORDS))?.into_inner();
        if ask.json {
            for transfer in &page.transfers {
                println!("{}", transfer_json(transfer));
            }
        } else {
            print!("{}", render_transfers(&page.transfers));
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(());
        }
        if !ask.all {
            // On standard error, so that what reads the transfers is not disturbed.
            eprintln!("there are more: `--page {page_token}` shows the next page, `--all` all of them");
            return Ok(());
        }
    }
}

fn render_transfers(transfers: &[billing::Transfer]) -> String {
    let head = ["when", "kind", "net", "moved", "with", "job", "memo"].map(str::to_owned);
    let rows = transfers.iter().map(|transfer| {
        vec![
            show::moment(transfer.at_us),
            transfer.kind.clone(),
            show::credits(transfer.net_nano),
            show::credits(transfer.amount_nano),
            transfer.counterparty.clone(),
            transfer.job_id.clone(),
            transfer.memo.clone(),
        ]
    });
    let rows: Vec<_> = std::iter::once(head.to_vec()).chain(rows).collect();
    show::table(&rows)
}

fn transfer_json(transfer: &billing::Transfer) -> serde_json::Value {
    json!({
        "transfer_id": transfer.transfer_id,
        "at": show::moment(transfer.at_us),
        "kind": transfer.kind,
        "net_nano": transfer.net_nano,
        "amount_nano": transfer.amount_nano,
        "counterparty": transfer.counterparty,
        "job_id": transfer.job_id,
        "memo": transfer.memo,
    })
}

async fn request_payout(ask: PayoutRequest) -> Result<()> {
    let request_id = match ask.request_id {
        Some(request_id) => request_id,
        None => show::fresh_id("payout")?,
    };
    let request = wire::RequestPayoutRequest {
        request_id: request_id.clone(),
        destination: ask.destination,
        amount_nano: ask.amount.as_nano(),
    };
    let mut client = ask.account.wallet().await?;
    let answer = client.request_payout(request).await.map_err(|status| {
        // Where the answer was lost the payout may stand: the same id asks for the same one.
        explain_as(&status, &WORDS).context(format!("to ask again safely, add `--request-id {request_id}`"))
    })?;
    let payouts: Vec<_> = answer.into_inner().payout.into_iter().collect();
    print!("{}", render_payouts(&payouts));
    Ok(())
}

async fn list_payouts(ask: &PayoutList) -> Result<()> {
    let mut client = ask.account.wallet().await?;
    let mut payouts = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = wire::ListPayoutsRequest {
            page_size: 0,
            page_token,
        };
        let page = client.list_payouts(request).await;
        let page = page.map_err(|status| explain(&status))?.into_inner();
        payouts.extend(page.payouts);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if ask.json {
        for payout in &payouts {
            println!(
                "{}",
                json!({
                    "payout_id": payout.payout_id,
                    "date": payout.date,
                    "amount_nano": payout.amount_nano,
                    "destination": payout.destination,
                    "state": state(payout),
                    "weekly": payout.weekly,
                    "note": payout.note,
                })
            );
        }
    } else {
        print!("{}", render_payouts(&payouts));
    }
    Ok(())
}

fn render_payouts(payouts: &[billing::Payout]) -> String {
    let head = ["payout", "asked", "credits", "to", "state", "note"].map(str::to_owned);
    let rows = payouts.iter().map(|payout| {
        vec![
            payout.payout_id.clone(),
            payout.date.clone(),
            show::credits(payout.amount_nano),
            payout.destination.clone(),
            state(payout).to_owned(),
            payout.note.clone(),
        ]
    });
    let rows: Vec<_> = std::iter::once(head.to_vec()).chain(rows).collect();
    show::table(&rows)
}

/// Where a payout is, in words.
fn state(payout: &billing::Payout) -> &'static str {
    match payout.state() {
        billing::PayoutState::Held => "held until an operator approves",
        billing::PayoutState::Approved => "approved, on its way",
        billing::PayoutState::Paid => "paid (virtual)",
        billing::PayoutState::Failed => "failed, the credits are back",
        billing::PayoutState::Unspecified => "unknown",
    }
}

async fn weekly(ask: Weekly) -> Result<()> {
    let destination = ask.destination.clone();
    let request = wire::SetPayoutDestinationRequest {
        destination: ask.destination,
    };
    let mut client = ask.account.wallet().await?;
    let noted = client.set_payout_destination(request).await;
    noted.map_err(|status| explain_as(&status, &WORDS))?;
    if destination.is_empty() {
        println!("the weekly run leaves the earnings where they are");
    } else {
        println!("the weekly run sends matured earnings of 10 credits and more to {destination}");
    }
    Ok(())
}

async fn audit(ask: &Audit) -> Result<()> {
    let mut client = ask.connection.operator().await?;
    eprintln!("reading all of the books…");
    let answer = client.audit_books(wire::AuditBooksRequest {}).await;
    let answer = answer.map_err(|status| explain(&status))?.into_inner();
    if ask.json {
        println!("{}", audit_json(&answer));
    } else {
        print!("{}", render_audit(&answer));
    }
    anyhow::ensure!(answer.clean, "the audit found {} thing(s)", answer.findings.len());
    Ok(())
}

fn audit_json(answer: &wire::AuditBooksResponse) -> serde_json::Value {
    let books = answer.billing.clone().unwrap_or_default();
    json!({
        "clean": answer.clean,
        "findings": answer.findings,
        "accounts": books.accounts,
        "transfers": books.transfers,
        "settlements": books.settlements,
        "held": books.held,
        "sum_nano": books.sum_nano,
        "fees_nano": books.fees_nano,
        "pool_nano": books.pool_nano,
        "reserved_nano": books.reserved_nano,
        "chain_head": data_encoding::HEXLOWER.encode(&books.chain_head),
        "accounts_compared": answer.accounts_compared,
        "accounts_moving": answer.accounts_moving,
    })
}

fn render_audit(answer: &wire::AuditBooksResponse) -> String {
    let books = answer.billing.clone().unwrap_or_default();
    let row = |name: &str, figure: String, what: &str| vec![name.to_owned(), figure, what.to_owned()];
    let table = show::table(&[
        row(
            "accounts",
            books.accounts.to_string(),
            "counters equal to the sums of their transfers",
        ),
        row(
            "transfers",
            books.transfers.to_string(),
            "each of one debit and one credit, sealed in the chain",
        ),
        row("settlements", books.settlements.to_string(), "each paid once"),
        row(
            "held",
            books.held.to_string(),
            "pending transfers, neither posted nor voided",
        ),
        row("sum", show::credits(books.sum_nano), "over all accounts: zero"),
        row("fees", show::credits(books.fees_nano), "earned by the exchange"),
        row("pool", show::credits(books.pool_nano), "for failovers"),
        row("reserved", show::credits(books.reserved_nano), "on all shards"),
        row(
            "compared",
            answer.accounts_compared.to_string(),
            "accounts, their reserve with what the engine may spend",
        ),
        row(
            "moving",
            answer.accounts_moving.to_string(),
            "accounts whose credits were on their way meanwhile: not compared",
        ),
    ]);
    let head = data_encoding::HEXLOWER.encode(&books.chain_head);
    let verdict = if answer.clean {
        "clean: nothing was found\n".to_owned()
    } else {
        answer
            .findings
            .iter()
            .map(|finding| format!("FOUND: {finding}\n"))
            .collect()
    };
    format!("{table}chain head {head}\n{verdict}")
}
