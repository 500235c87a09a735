//! `atoll wallet keys`: what speaks for an account.

use std::time::Duration;

use anyhow::Result;
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use domain::Credits;
use proto::billing::v1 as billing;
use proto::exchange::v1 as wire;
use serde_json::json;

use super::WORDS;
use crate::client::{Account, explain, explain_as};
use crate::show;

/// What to do about keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key. Its secret is shown this once.
    ///
    /// `atoll wallet keys create laptop --scope consumer --days 30`
    Create(Create),
    /// List the keys, oldest first.
    List(List),
    /// Make a key's successor; the key itself goes on for a while, so that nothing stops.
    ///
    /// `atoll wallet keys rotate key_7 --grace-hours 24`
    Rotate(Rotate),
    /// End a key at once.
    Revoke(Revoke),
    /// Bound what may be spent with a key in a day (UTC), and by each of its end users. A bound that is not named stays.
    ///
    /// `atoll wallet keys limit key_7 --per-day 5 --per-user-per-day 0.5`
    Limit(Limit),
}

/// A key to make.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// A name, for you to tell keys apart.
    name: String,
    /// What it may be used for.
    #[arg(long, value_enum, default_value_t = Scope::Full)]
    scope: Scope,
    /// Days until it stops working; without it, it does not.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: Option<u32>,
    #[command(flatten)]
    account: Account,
}

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scope {
    /// Everything that its account may do.
    Full,
    /// Buying only.
    Consumer,
    /// Enrolling Islands and quoting for them only.
    Island,
}

impl Scope {
    const fn to_wire(self) -> billing::KeyScope {
        match self {
            Self::Full => billing::KeyScope::Full,
            Self::Consumer => billing::KeyScope::Consumer,
            Self::Island => billing::KeyScope::Island,
        }
    }
}

/// Whose keys.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// One line of JSON a key.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    account: Account,
}

/// A key to succeed.
#[derive(Args, Debug)]
pub(crate) struct Rotate {
    /// The key; `atoll wallet keys list` lists them.
    key: String,
    /// Hours that the key itself goes on working; at most a week.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=168))]
    grace_hours: u32,
    #[command(flatten)]
    account: Account,
}

/// A key to end.
#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// The key; `atoll wallet keys list` lists them.
    key: String,
    #[command(flatten)]
    account: Account,
}

/// What may be spent with a key.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("bounds").required(true).multiple(true))]
pub(crate) struct Limit {
    /// The key; `atoll wallet keys list` lists them. Its successors share the limit.
    key: String,
    /// So many credits a day with it. To end a key, revoke it.
    #[arg(long, value_name = "CREDITS", group = "bounds", value_parser = above_zero, allow_hyphen_values = true)]
    per_day: Option<Credits>,
    /// So many credits a day by each end user whom its bids name (`--user`, or `user` of an OpenAI request).
    #[arg(long, value_name = "CREDITS", group = "bounds", value_parser = above_zero, allow_hyphen_values = true)]
    per_user_per_day: Option<Credits>,
    /// Lift both bounds.
    #[arg(long, group = "bounds", conflicts_with_all = ["per_day", "per_user_per_day"])]
    none: bool,
    #[command(flatten)]
    account: Account,
}

/// On the wire 0 is no bound, which is the opposite of what who writes it means.
fn above_zero(text: &str) -> Result<Credits, String> {
    let credits: Credits = text.parse().map_err(|error| format!("{error}"))?;
    if credits > Credits::ZERO {
        Ok(credits)
    } else {
        Err("a bound is above 0; `--none` lifts it, and `keys revoke` ends the key".to_owned())
    }
}

/// Does it.
pub(super) async fn run(keys: Keys) -> Result<()> {
    match keys {
        Keys::Create(ask) => create(ask).await,
        Keys::List(ask) => list(&ask).await,
        Keys::Rotate(ask) => rotate(ask).await,
        Keys::Revoke(ask) => revoke(ask).await,
        Keys::Limit(ask) => limit(ask).await,
    }
}

async fn create(ask: Create) -> Result<()> {
    let request = wire::CreateApiKeyRequest {
        request_id: show::fresh_id("key")?,
        name: ask.name,
        scope: ask.scope.to_wire().into(),
        expire_time_us: ask.days.map_or(0, in_days),
    };
    let mut client = ask.account.wallet().await?;
    let answer = client.create_api_key(request).await;
    let created = answer.map_err(|status| explain_as(&status, &WORDS))?.into_inner();
    eprintln!("{} is made; its secret is shown this once:", created.key_id);
    println!("{}", created.secret);
    Ok(())
}

fn in_days(days: u32) -> u64 {
    let span = Duration::from_hours(u64::from(days).saturating_mul(24));
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    service::clock::unix_micros().saturating_add(micros)
}

async fn list(ask: &List) -> Result<()> {
    let mut client = ask.account.wallet().await?;
    let answer = client.list_api_keys(wire::ListApiKeysRequest {}).await;
    let keys = answer.map_err(|status| explain(&status))?.into_inner().keys;
    if ask.json {
        for key in &keys {
            println!(
                "{}",
                json!({
                    "key_id": key.key_id,
                    "name": key.name,
                    "scope": scope(key),
                    "created": show::moment(key.created_at_us),
                    "revoked": optional_moment(key.revoked_at_us),
                    "expires": optional_moment(key.expire_time_us),
                    "successor": key.rotated_to_key_id,
                    "limit_nano_per_day": limits(key).key_nano_per_day,
                    "limit_nano_per_user_per_day": limits(key).user_nano_per_day,
                })
            );
        }
        return Ok(());
    }
    let head = [
        "key",
        "name",
        "for",
        "made",
        "ends",
        "successor",
        "a day",
        "a user",
    ]
    .map(str::to_owned);
    let rows = keys.iter().map(|key| {
        let ends = match (
            optional_moment(key.revoked_at_us),
            optional_moment(key.expire_time_us),
        ) {
            (Some(revoked), _) => format!("revoked {revoked}"),
            (None, Some(expires)) => expires,
            (None, None) => "never".to_owned(),
        };
        vec![
            key.key_id.clone(),
            key.name.clone(),
            scope(key).to_owned(),
            show::moment(key.created_at_us),
            ends,
            key.rotated_to_key_id.clone(),
            bound(limits(key).key_nano_per_day),
            bound(limits(key).user_nano_per_day),
        ]
    });
    let rows: Vec<_> = std::iter::once(head.to_vec()).chain(rows).collect();
    print!("{}", show::table(&rows));
    Ok(())
}

fn limits(key: &billing::ApiKey) -> billing::SpendingLimit {
    key.spending_limit.unwrap_or_default()
}

fn bound(nano: i64) -> String {
    if nano == 0 {
        "any".to_owned()
    } else {
        show::credits(nano)
    }
}

fn optional_moment(at_us: u64) -> Option<String> {
    (at_us != 0).then(|| show::moment(at_us))
}

fn scope(key: &billing::ApiKey) -> &'static str {
    match key.scope() {
        billing::KeyScope::Full => "full",
        billing::KeyScope::Consumer => "consumer",
        billing::KeyScope::Island => "island",
        billing::KeyScope::Unspecified => "unknown",
    }
}

async fn rotate(ask: Rotate) -> Result<()> {
    let grace = Duration::from_hours(ask.grace_hours.into());
    let request = wire::RotateApiKeyRequest {
        key_id: ask.key,
        request_id: show::fresh_id("rotation")?,
        grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
        expire_time_us: 0,
    };
    let old = request.key_id.clone();
    let mut client = ask.account.wallet().await?;
    let answer = client.rotate_api_key(request).await;
    let successor = answer.map_err(|status| explain_as(&status, &WORDS))?.into_inner();
    eprintln!(
        "{} succeeds {old}, which ends at {}; the new secret is shown this once:",
        successor.key_id,
        show::moment(successor.old_expire_time_us)
    );
    println!("{}", successor.secret);
    Ok(())
}

async fn revoke(ask: Revoke) -> Result<()> {
    let key_id = ask.key;
    let mut client = ask.account.wallet().await?;
    let request = wire::RevokeApiKeyRequest {
        key_id: key_id.clone(),
    };
    let ended = client.revoke_api_key(request).await;
    ended.map_err(|status| explain_as(&status, &WORDS))?;
    println!("{key_id} is revoked; what it began goes on, and it opens nothing more");
    Ok(())
}

async fn limit(ask: Limit) -> Result<()> {
    let mut client = ask.account.wallet().await?;
    let key_id = ask.key;
    let before = if ask.none {
        billing::SpendingLimit::default()
    } else {
        let answer = client.list_api_keys(wire::ListApiKeysRequest {}).await;
        let keys = answer.map_err(|status| explain(&status))?.into_inner().keys;
        let key = keys.iter().find(|key| key.key_id == key_id);
        key.map(limits).unwrap_or_default()
    };
    let after = billing::SpendingLimit {
        key_nano_per_day: ask.per_day.map_or(before.key_nano_per_day, Credits::as_nano),
        user_nano_per_day: ask
            .per_user_per_day
            .map_or(before.user_nano_per_day, Credits::as_nano),
    };
    let request = wire::SetSpendingLimitRequest {
        key_id: key_id.clone(),
        spending_limit: Some(after),
    };
    let set = client.set_spending_limit(request).await;
    set.map_err(|status| explain_as(&status, &WORDS))?;
    println!(
        "{key_id} may spend {} credits a day, {} for each end user",
        bound(after.key_nano_per_day),
        bound(after.user_nano_per_day)
    );
    Ok(())
}
