//! The three binaries run apart, and the exchange is killed under load, again and again.
//!
//! What was acknowledged is there afterwards and was done once; nobody's credits are lost or bound; jobs that were in
//! flight cost nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proto::billing::v1::{GetBalanceRequest, ListTransfersRequest};
use proto::exchange::v1::submit_job_response::Event;
use proto::exchange::v1::{
    BidTerms, ChatMessage, GetStatusRequest, JobInput, ListJobsRequest, SubmitJobRequest,
};
use proto::types::v1::{TimeInForce, TimeInForceKind};
use tokio::task::JoinSet;

use crate::support::{Apart, Exchange, number};

/// Kills of the normal tests.
const KILLS: u64 = 2;
/// Consumers at once.
const WORKERS: u64 = 4;
/// Jobs that complete before each kill.
const COMPLETED_BEFORE_KILL: u64 = 12;
/// Tokens of an answer.
const TOKENS_MAX: u32 = 24;
const PATIENCE: Duration = Duration::from_secs(60);

/// What the consumers were told.
#[derive(Default)]
struct Told {
    /// Client order id to order id, of every bid that was acknowledged.
    accepted: BTreeMap<String, String>,
    /// Job to what it cost, fee included.
    completed: BTreeMap<String, i64>,
    /// Streams that broke off, as they should when the exchange dies.
    broken: u64,
    /// Job to tokens that had come, of every job whose stream broke off.
    in_flight: BTreeMap<String, u32>,
}

impl Told {
    fn merge(&mut self, other: Self) {
        self.accepted.extend(other.accepted);
        for (job, cost) in other.completed {
            assert!(
                self.completed.insert(job.clone(), cost).is_none(),
                "{job} was completed twice"
            );
        }
        self.broken += other.broken;
        self.in_flight.extend(other.in_flight);
    }
}

fn bid(
    model: &str,
    client_order_id: String,
    limit: u64,
    kind: TimeInForceKind,
    expires_in_ms: u64,
) -> SubmitJobRequest {
    SubmitJobRequest {
        client_order_id,
        user: String::new(),
        model: model.to_owned(),
        inputs: vec![JobInput {
            messages: vec![ChatMessage {
                role: "user".to_owned(),
                content: "Count.".to_owned(),
            }],
            max_tokens: TOKENS_MAX,
            seed: Some(1),
            ..JobInput::default()
        }],
        terms: Some(BidTerms {
            limit: Some(limit),
            time_in_force: Some(TimeInForce {
                kind: kind.into(),
                expires_in_ms,
            }),
            ..BidTerms::default()
        }),
    }
}

/// What consumers do, counted for whoever decides when to kill.
#[derive(Default)]
struct Progress {
    completed: AtomicU64,
    /// Jobs whose first token came.
    begun: AtomicU64,
}

/// Buys until the exchange dies.
async fn consume(
    mut exchange: Exchange,
    model: String,
    worker: u64,
    round: u64,
    progress: Arc<Progress>,
) -> Told {
    let mut told = Told::default();
    // One that rests: too cheap for anybody.
    let name = format!("rest-{round}-{worker}");
    let resting = exchange
        .submit_job(bid(&model, name.clone(), 1_000, TimeInForceKind::Gtc, 0))
        .await;
    let mut resting = resting.unwrap().into_inner();
    if let Ok(Some(event)) = resting.message().await {
        let Some(Event::Accepted(accepted)) = event.event else {
            panic!("{event:?}")
        };
        told.accepted.insert(name, accepted.order_id);
    }
    for turn in 0_u64.. {
        let name = format!("job-{round}-{worker}-{turn}");
        let request = bid(&model, name.clone(), 100_000_000, TimeInForceKind::Gtd, 60_000);
        let Ok(stream) = exchange.submit_job(request).await else {
            told.broken += 1;
            return told;
        };
        let mut stream = stream.into_inner();
        let (mut job, mut tokens) = (String::new(), 0);
        loop {
            match stream.message().await {
                Ok(Some(event)) => match event.event.unwrap() {
                    Event::Accepted(accepted) => {
                        told.accepted.insert(name.clone(), accepted.order_id);
                    }
                    Event::Completed(done) => {
                        let bill = done.bill.unwrap();
                        told.completed
                            .insert(done.job_id, bill.charge_nano + bill.fee_nano);
                        progress.completed.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    Event::Ended(ended) => panic!("{ended:?}"),
                    Event::Matched(matched) => job = matched.job_id,
                    Event::Output(output) => {
                        progress
                            .begun
                            .fetch_add(u64::from(tokens == 0), Ordering::Relaxed);
                        tokens += u32::try_from(output.token_ids.len()).unwrap();
                    }
                    Event::FailedOver(_) => {}
                },
                Ok(None) => panic!("the stream of {name} ended and looks complete"),
                Err(_) => {
                    told.broken += 1;
                    told.in_flight.insert(job, tokens);
                    return told;
                }
            }
        }
    }
    told
}

#[test]
fn a_killed_exchange_loses_and_doubles_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut apart = Apart::start().await;
        let mut told = Told::default();
        let seed = number("ATOLL_LONG_SEED", 1);
        for round in seed..seed + number("ATOLL_LONG_COUNT", KILLS) {
            let progress = Arc::new(Progress::default());
            let mut workers = JoinSet::new();
            for worker in 0..WORKERS {
                let exchange = apart.consumer().await;
                workers.spawn(consume(
                    exchange,
                    apart.model.clone(),
                    worker,
                    round,
                    Arc::clone(&progress),
                ));
            }
            let deadline = Instant::now() + PATIENCE;
            let wait = async |good: &dyn Fn() -> bool| {
                while !good() {
                    assert!(Instant::now() < deadline, "no progress in round {round}");
                    tokio::task::yield_now().await;
                }
            };
            let wanted = COMPLETED_BEFORE_KILL + round % 5;
            wait(&|| progress.completed.load(Ordering::Relaxed) >= wanted).await;
            // The kill comes when a job has just begun, so that at least one is in flight.
            let begun = progress.begun.load(Ordering::Relaxed);
            wait(&|| progress.begun.load(Ordering::Relaxed) > begun).await;
            apart.kill_exchange();
            let mut latest = Told::default();
            while let Some(worker) = workers.join_next().await {
                latest.merge(worker.unwrap());
            }
            apart.restart_exchange().await;
            repeat(&mut apart, &latest.accepted).await;
            told.merge(latest);
            check(&mut apart, &told).await;
        }
        assert!(told.broken >= WORKERS, "every consumer saw his stream break");
    });
}

async fn check(apart: &mut Apart, told: &Told) {
    let status = apart
        .operator()
        .await
        .get_status(GetStatusRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(status.open_leases, 0, "leases of lost sessions end");
    let last: u64 = status.sequence;
    let audit = apart.settled_audit(last).await;
    assert!(audit.clean, "{:?}", audit.findings);
    assert_eq!(audit.sum_nano, 0);
    let status = apart
        .operator()
        .await
        .get_status(GetStatusRequest {})
        .await
        .unwrap()
        .into_inner();
    for power in &status.buying_power {
        let request = GetBalanceRequest {
            account_id: power.account_id.clone(),
        };
        let balance = apart.billing().await.get_balance(request).await.unwrap();
        let reserved = balance.into_inner().reserved_nano;
        assert_eq!(
            power.available_nano + power.bound_nano,
            reserved,
            "{}",
            power.account_id
        );
        assert_eq!(power.bound_nano, 0, "nothing is bound to orders of lost sessions");
    }
    for order in told.accepted.values() {
        let order: domain::OrderId = order.parse().unwrap();
        assert!(
            order.get() <= status.sequence,
            "{order} was acknowledged and is not in the journal"
        );
    }

    // What was charged: every job that was completed, once, at its price; of the others only such as ended unheard.
    let charged = charges(apart).await;
    for (job, cost) in &told.completed {
        assert_eq!(charged.get(job), Some(cost), "{job}");
    }
    let young = told
        .in_flight
        .iter()
        .filter(|(_, tokens)| **tokens * 2 < TOKENS_MAX);
    let young: Vec<&String> = young.map(|(job, _)| job).collect();
    assert!(!young.is_empty(), "no job was cut in its first half");
    for job in young {
        assert!(!charged.contains_key(job), "{job} was in flight and was charged");
    }
    let unheard = charged
        .keys()
        .filter(|job| !told.completed.contains_key(*job))
        .count();
    assert!(
        u64::try_from(unheard).unwrap() <= told.broken,
        "{unheard} jobs were charged that nobody heard of"
    );
    let spent: i64 = charged.values().sum();
    let worth = apart.worth_of_consumer().await;
    assert_eq!(
        worth,
        apart.granted - spent,
        "the consumer has what he had less what he was charged"
    );

    // The owner, when he returns, finds how each job ended; none waits or runs.
    let mut consumer = apart.consumer().await;
    let jobs = consumer
        .list_jobs(ListJobsRequest { page_size: 1_000 })
        .await
        .unwrap()
        .into_inner()
        .jobs;
    let alive: BTreeSet<&str> = jobs.iter().map(|job| job.state.as_str()).collect();
    assert!(
        !alive.contains("running") && !alive.contains("waiting"),
        "{alive:?}"
    );
}

/// Everything that was acknowledged before the crash, the last as well as the first, is there: a repeat is the same order,
/// and is not done a second time.
async fn repeat(apart: &mut Apart, accepted: &BTreeMap<String, String>) {
    let mut consumer = apart.consumer().await;
    for (name, order) in accepted {
        let limit = if name.starts_with("rest") {
            1_000
        } else {
            100_000_000
        };
        let again = bid(&apart.model, name.clone(), limit, kind(name), expiry(name));
        let mut stream = consumer.submit_job(again).await.unwrap().into_inner();
        let first = stream.message().await.unwrap().unwrap().event.unwrap();
        let Event::Accepted(accepted) = first else {
            panic!("{first:?}")
        };
        assert!(accepted.repeated_order, "{name} was acknowledged and is gone");
        assert_eq!(accepted.order_id, *order);
    }
}

fn kind(name: &str) -> TimeInForceKind {
    if name.starts_with("rest") {
        TimeInForceKind::Gtc
    } else {
        TimeInForceKind::Gtd
    }
}

fn expiry(name: &str) -> u64 {
    if name.starts_with("rest") { 0 } else { 60_000 }
}

/// Job to what billing took from the consumer for it.
async fn charges(apart: &mut Apart) -> BTreeMap<String, i64> {
    let (mut charged, mut page_token) = (BTreeMap::<String, i64>::new(), String::new());
    loop {
        let account_id = apart.consumer_account.clone();
        let request = ListTransfersRequest {
            account_id,
            page_size: 1_000,
            page_token,
            filter: String::new(),
        };
        let page = apart
            .billing()
            .await
            .list_transfers(request)
            .await
            .unwrap()
            .into_inner();
        for transfer in page
            .transfers
            .iter()
            .filter(|transfer| !transfer.job_id.is_empty())
        {
            *charged.entry(transfer.job_id.clone()).or_default() -= transfer.net_nano;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return charged;
        }
    }
}
