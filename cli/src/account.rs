//! `atoll balance`, `atoll jobs`, `atoll models`: what an account has, and what is on offer.

use anyhow::Result;
use proto::exchange::v1::{GetBalanceRequest, GetBalanceResponse, Job, ListJobsRequest, ListModelsRequest};

use crate::client::{Account, Connection, Exchange, explain};
use crate::show;

/// Shows the balances.
pub(crate) async fn balance(connection: &Connection) -> Result<()> {
    show_balance(connection.exchange().await?).await
}

/// Shows the balances of either account.
pub(crate) async fn balance_of(account: &Account) -> Result<()> {
    show_balance(account.exchange().await?).await
}

async fn show_balance(mut exchange: Exchange) -> Result<()> {
    let answer = exchange.get_balance(GetBalanceRequest {}).await;
    print!(
        "{}",
        render_balance(&answer.map_err(|status| explain(&status))?.into_inner())
    );
    Ok(())
}

/// The whole in a line, then its parts and what each is for.
pub(crate) fn render_balance(balance: &GetBalanceResponse) -> String {
    let parts = [
        balance.available_nano,
        balance.reserved_nano,
        balance.pending_nano,
    ];
    let whole = parts.into_iter().fold(0_i64, i64::saturating_add);
    let held = format!(
        "with the exchange, so that bids need not wait for billing: {} free, {} bound to bids and running jobs",
        show::credits(balance.buying_power_nano),
        show::credits(balance.bound_nano)
    );
    let row = |name: &str, nano: i64, what: &str| vec![name.to_owned(), show::credits(nano), what.to_owned()];
    let table = show::table(&[
        row("available", balance.available_nano, "free"),
        row("reserved", balance.reserved_nano, &held),
        row(
            "pending",
            balance.pending_nano,
            "earned by Islands, available once audits have had their time: a day unless billing is told otherwise",
        ),
    ]);
    format!(
        "{} has {} credits (virtual, no cash value)\n{table}",
        balance.account_id,
        show::credits(whole)
    )
}

/// Shows the jobs.
pub(crate) async fn jobs(connection: &Connection) -> Result<()> {
    let answer = connection
        .exchange()
        .await?
        .list_jobs(ListJobsRequest { page_size: 0 })
        .await;
    let jobs = answer.map_err(|status| explain(&status))?.into_inner().jobs;
    let mut rows = vec![
        [
            "job", "model", "state", "island", "where", "price", "units", "charge", "fee",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(jobs.iter().map(job_row));
    print!("{}", show::table(&rows));
    Ok(())
}

fn job_row(job: &Job) -> Vec<String> {
    let bill = job.bill.as_ref();
    vec![
        job.job_id.clone(),
        job.model.clone(),
        job.state.clone(),
        job.island_id.clone(),
        job.cell
            .as_ref()
            .map_or_else(String::new, |cell| show::place(Some(cell))),
        if job.price == 0 {
            String::new()
        } else {
            show::price(job.price)
        },
        job.usage.as_ref().map_or(0, |usage| usage.units).to_string(),
        show::credits(bill.map_or(0, |bill| bill.charge_nano)),
        show::credits(bill.map_or(0, |bill| bill.fee_nano)),
    ]
}

/// Shows the models.
pub(crate) async fn models(connection: &Connection) -> Result<()> {
    let answer = connection
        .exchange()
        .await?
        .list_models(ListModelsRequest {})
        .await;
    let models = answer.map_err(|status| explain(&status))?.into_inner().models;
    let mut rows = vec![
        ["model", "context", "best ask", "licence"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(models.iter().map(|model| {
        let best = model.best_ask.map_or_else(|| "none".to_owned(), show::price);
        vec![
            model.model.clone(),
            model.context_max.to_string(),
            best,
            model.licence.clone(),
        ]
    }));
    print!("{}", show::table(&rows));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_balance_is_a_whole_and_its_parts() {
        let balance = GetBalanceResponse {
            account_id: "acc_7".to_owned(),
            available_nano: 900_000_000_000,
            reserved_nano: 99_500_000_000,
            pending_nano: 250_000_000,
            buying_power_nano: 99_000_000_000,
            bound_nano: 500_000_000,
        };
        expect![[r#"
            acc_7 has 999.75 credits (virtual, no cash value)
            available  900   free
            reserved   99.5  with the exchange, so that bids need not wait for billing: 99 free, 0.5 bound to bids and running jobs
            pending    0.25  earned by Islands, available once audits have had their time: a day unless billing is told otherwise
        "#]]
        .assert_eq(&render_balance(&balance));
    }
}
