//! `atoll wallet statement`: as a table, as CSV for a spreadsheet, or as JSON.

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use domain::Timestamp;
use proto::billing::v1 as billing;
use proto::exchange::v1 as wire;
use serde_json::{Value, json};

use super::transfer_json;
use crate::client::{Account, explain_as};
use crate::show;

/// What the wire's fields are called on this command line.
const WORDS: [(&str, &str); 3] = [
    ("from_us", "--from"),
    ("until_us", "--until"),
    ("island_id", "--island"),
];

/// Which statement.
#[derive(Args, Debug)]
#[command(after_long_help = "Examples:
  atoll wallet statement                                        everything up to now
  atoll wallet statement --from 2026-01-01 --until 2026-02-01   January (UTC)
  atoll wallet statement --owner --island isl_2 --format csv    what one Island earned, for a spreadsheet")]
pub(crate) struct Statement {
    /// The first day or moment (UTC): `2026-01-31` or `2026-01-31T12:00:00Z`.
    #[arg(long, value_parser = moment)]
    from: Option<Timestamp>,
    /// The first day or moment that is not on it any more; now unless given.
    #[arg(long, value_parser = moment)]
    until: Option<Timestamp>,
    /// Only what this Island of yours earned.
    #[arg(long, default_value = "", hide_default_value = true)]
    island: String,
    /// How to write it. Tables show credits; CSV and JSON count nano-credits.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    account: Account,
}

/// How a statement is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// A line for each transfer, with the balance after it.
    Csv,
    /// All of it in one object.
    Json,
}

/// A day, which begins at midnight UTC, or a moment.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let midnight = || {
        text.parse::<jiff::civil::Date>()
            .ok()
            .map(|date| date.to_zoned(jiff::tz::TimeZone::UTC))
    };
    let moment = text.parse::<jiff::Timestamp>().ok();
    let moment = moment.or_else(|| midnight()?.ok().map(|zoned| zoned.timestamp()));
    let micros = moment.and_then(|moment| u64::try_from(moment.as_microsecond()).ok());
    micros.map(Timestamp::from_micros).ok_or_else(|| {
        "write a day such as 2026-01-31 or a moment such as 2026-01-31T12:00:00Z, from 1970 on".to_owned()
    })
}

/// Makes it out.
pub(super) async fn run(ask: Statement) -> Result<()> {
    let request = wire::GetStatementRequest {
        from_us: ask.from.map_or(0, Timestamp::as_micros),
        until_us: ask.until.map_or(0, Timestamp::as_micros),
        island_id: ask.island,
    };
    let mut client = ask.account.wallet().await?;
    let answer = client.get_statement(request).await;
    let answer = answer.map_err(|status| explain_as(&status, &WORDS))?.into_inner();
    let statement = answer
        .statement
        .context("the exchange answered without a statement")?;
    match ask.format {
        Format::Table => print!("{}", render(&statement)),
        Format::Csv => print!("{}", to_csv(&statement)?),
        Format::Json => println!("{}", to_json(&statement)),
    }
    Ok(())
}

fn lines(statement: &billing::GetStatementResponse) -> impl Iterator<Item = (&billing::Transfer, i64)> {
    let line = |line: &'_ billing::StatementLine| line.balance_nano;
    statement
        .lines
        .iter()
        .filter_map(move |entry| Some((entry.transfer.as_ref()?, line(entry))))
}

fn render(statement: &billing::GetStatementResponse) -> String {
    let head = ["when", "kind", "net", "balance", "with", "job", "memo"].map(str::to_owned);
    let rows = lines(statement).map(|(transfer, balance_nano)| {
        vec![
            show::moment(transfer.at_us),
            transfer.kind.clone(),
            show::credits(transfer.net_nano),
            show::credits(balance_nano),
            transfer.counterparty.clone(),
            transfer.job_id.clone(),
            transfer.memo.clone(),
        ]
    });
    let rows: Vec<_> = std::iter::once(head.to_vec()).chain(rows).collect();
    let used = ["date", "model", "segments", "units", "paid", "earned"].map(str::to_owned);
    let usage = statement.usage.iter().map(|usage| {
        vec![
            usage.date.clone(),
            usage.model.clone(),
            usage.segments.to_string(),
            usage.units.to_string(),
            show::credits(usage.paid_nano),
            show::credits(usage.earned_nano),
        ]
    });
    let usage: Vec<_> = std::iter::once(used.to_vec()).chain(usage).collect();
    format!(
        "Statement of {} from {} until {}\nopening  {}\n\n{}\nclosing  {}\n\n{}\n{}\n",
        statement.account_id,
        show::moment(statement.from_us),
        show::moment(statement.until_us),
        show::credits(statement.opening_nano),
        show::table(&rows),
        show::credits(statement.closing_nano),
        show::table(&usage),
        announced(statement) + &statement.notice,
    )
}

/// What is going to happen to everybody's credits, if a reset is announced.
fn announced(statement: &billing::GetStatementResponse) -> String {
    let Some(reset) = &statement.announced_reset else {
        return String::new();
    };
    format!(
        "At {} all virtual credits are reset ({}): who took part begins anew with {} and a bonus of {}.\n",
        show::moment(reset.at_us),
        reset.reason,
        show::credits(reset.starter_nano),
        show::credits(reset.bonus_nano),
    )
}

/// A head, the opening, a line for each transfer and the closing, by RFC 4180.
fn to_csv(statement: &billing::GetStatementResponse) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record([
        "at",
        "kind",
        "net_nano",
        "balance_nano",
        "counterparty",
        "job_id",
        "transfer_id",
        "memo",
    ])?;
    let edge = |csv: &mut csv::Writer<Vec<u8>>, at_us: u64, kind: &str, balance_nano: i64| {
        csv.write_record([
            show::moment(at_us).as_str(),
            kind,
            "0",
            &balance_nano.to_string(),
            "",
            "",
            "",
            &statement.notice,
        ])
    };
    edge(&mut csv, statement.from_us, "opening", statement.opening_nano)?;
    for (transfer, balance_nano) in lines(statement) {
        csv.write_record([
            show::moment(transfer.at_us).as_str(),
            &transfer.kind,
            &transfer.net_nano.to_string(),
            &balance_nano.to_string(),
            &transfer.counterparty,
            &transfer.job_id,
            &transfer.transfer_id,
            &harmless(&transfer.memo),
        ])?;
    }
    edge(&mut csv, statement.until_us, "closing", statement.closing_nano)?;
    let bytes = csv.into_inner().context("could not write the table")?;
    String::from_utf8(bytes).context("could not write the table")
}

/// A text that no spreadsheet takes for a formula: memos may hold what somebody else wrote.
fn harmless(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

fn to_json(statement: &billing::GetStatementResponse) -> Value {
    let lines = lines(statement).map(|(transfer, balance_nano)| {
        let mut line = transfer_json(transfer);
        line["balance_nano"] = balance_nano.into();
        line
    });
    let usage = statement.usage.iter().map(|usage| {
        json!({
            "date": usage.date,
            "model": usage.model,
            "segments": usage.segments,
            "units": usage.units,
            "paid_nano": usage.paid_nano,
            "earned_nano": usage.earned_nano,
        })
    });
    json!({
        "account_id": statement.account_id,
        "from": show::moment(statement.from_us),
        "until": show::moment(statement.until_us),
        "opening_nano": statement.opening_nano,
        "closing_nano": statement.closing_nano,
        "lines": lines.collect::<Vec<_>>(),
        "usage": usage.collect::<Vec<_>>(),
        "reset": statement.announced_reset.as_ref().map(|reset| json!({
            "at": show::moment(reset.at_us),
            "reason": reset.reason,
            "starter_nano": reset.starter_nano,
            "bonus_nano": reset.bonus_nano,
        })),
        "notice": statement.notice,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> billing::GetStatementResponse {
        let transfer = billing::Transfer {
            transfer_id: "trf_1".to_owned(),
            kind: "grant".to_owned(),
            counterparty: "grants".to_owned(),
            net_nano: 5,
            amount_nano: 5,
            at_us: 1_700_000_000_000_000,
            job_id: String::new(),
            memo: "=HYPERLINK(\"x\"), \"welcome\"\nand more".to_owned(),
        };
        billing::GetStatementResponse {
            account_id: "acc_1".to_owned(),
            until_us: 1_700_000_000_000_001,
            opening_nano: 2,
            closing_nano: 7,
            lines: vec![billing::StatementLine {
                transfer: Some(transfer),
                balance_nano: 7,
            }],
            notice: "All credits are virtual.".to_owned(),
            ..billing::GetStatementResponse::default()
        }
    }

    #[test]
    fn a_table_for_spreadsheets_reads_back_and_starts_no_formula() {
        let text = to_csv(&statement()).unwrap();
        let mut csv = csv::Reader::from_reader(text.as_bytes());
        let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 3);
        assert_eq!((&rows[0][1], &rows[0][3]), ("opening", "2"));
        assert_eq!((&rows[1][0], &rows[1][2]), ("2023-11-14T22:13:20.000000Z", "5"));
        assert_eq!(&rows[1][7], "'=HYPERLINK(\"x\"), \"welcome\"\nand more");
        assert_eq!((&rows[2][1], &rows[2][3]), ("closing", "7"));
    }

    #[test]
    fn days_begin_at_midnight_and_nonsense_is_refused() {
        assert_eq!(moment("2023-11-14").unwrap().as_micros(), 1_699_920_000_000_000);
        assert_eq!(
            moment("2023-11-14T22:13:20Z").unwrap().as_micros(),
            1_700_000_000_000_000
        );
        for nonsense in ["", "yesterday", "1969-12-31", "2023-02-30", "99999-01-01"] {
            assert!(moment(nonsense).unwrap_err().contains("2026-01-31"), "{nonsense}");
        }
    }
}
