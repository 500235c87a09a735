//! SIGKILL of the program under settlement load, while earnings mature and are paid out; restart, and the whole stream sent
//! again. The normal tests kill forty times; `cargo xtask test --long billing-kills` a thousand.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use billing::payouts::provider::VIRTUAL_FILE;
use proto::billing::v1 as pb;
use proto::convert::billing::Settlement;

use crate::support::{
    Client, TOKEN, account, assert_clean, balances, batch, client_of, reserve_request, settlement,
};

/// The program, killed when it is dropped.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    fn start(folder: &Path) -> Self {
        let config = folder.join("billing.toml");
        let text = format!(
            "listen = '127.0.0.1:0'\ndata_dir = '{}'\nservice_token = '{TOKEN}'\n[maturity]\ndelay_ms = 0\nprobation_delay_ms = 0\ninterval_ms = 3\n[payouts]\ninterval_ms = 3\n",
            folder.join("data").display()
        );
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_billing"))
            .arg("--config")
            .arg(&config)
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = log.lines();
        let mut seen = String::new();
        let address = loop {
            let Some(line) = lines.next() else {
                panic!("billing ended before it answered:\n{seen}")
            };
            let line = line.unwrap();
            if line.contains("billing answers") {
                break address_in(&line);
            }
            seen.push_str(&line);
            seen.push('\n');
        };
        // The log goes on being read, or the program would block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn address_in(line: &str) -> SocketAddr {
    line.split(|c: char| c.is_whitespace() || c == '=' || c == '"')
        .find_map(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no address in {line}"))
}

/// How often billing is killed, unless the environment says otherwise.
const KILLS: u64 = 40;
/// Leases that are settled from one kill to the next, about.
const LEASES_PER_KILL: u64 = 75;
const PER_BATCH: u64 = 25;
/// Owners of Islands, each with a destination for the weekly run.
const ISLANDS: u64 = 20;
/// 7,000 units at 0.1 credits per 1,000 come to 0.7 credits, the fee on top to 0.014.
const UNITS: u64 = 7_000;
const EARNED: i64 = 700_000_000;
const PAID: i64 = 714_000_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn claims(from: u64) -> Vec<Settlement> {
    (from..from + PER_BATCH)
        .map(|sequence| settlement(sequence, sequence, 1, 2 + sequence % ISLANDS, UNITS))
        .collect()
}

/// Sends batches from the cursor on until the stream is done or billing is gone; returns the last cursor that was
/// acknowledged.
async fn send_all(client: &mut Client, leases: u64, acknowledged: &tokio::sync::watch::Sender<u64>) {
    let request = pb::GetSettlementCursorRequest { shard: 0 };
    let Ok(cursor) = client.get_settlement_cursor(request).await else {
        return;
    };
    let mut next = cursor.into_inner().through_sequence + 1;
    while next <= leases {
        let through = next + PER_BATCH - 1;
        match client.settle(batch(through, claims(next))).await {
            Ok(answer) => assert_eq!(answer.into_inner().refusals, []),
            Err(_) => return,
        }
        acknowledged.send_replace(through);
        next = through + 1;
    }
}

async fn cursor(client: &mut Client) -> u64 {
    let request = pb::GetSettlementCursorRequest { shard: 0 };
    let cursor = client.get_settlement_cursor(request).await.unwrap();
    cursor.into_inner().through_sequence
}

/// A consumer who can pay for everything, and Islands' owners whose earnings the weekly run sends.
async fn open_market(client: &mut Client, leases: u64) -> (String, Vec<String>) {
    let wealth = i64::try_from(leases).unwrap() * PAID;
    let consumer = account(client, "consumer", wealth).await;
    let mut islands = Vec::new();
    for island in 0..ISLANDS {
        let account_id = account(client, &format!("island-{island}"), 0).await;
        let request = pb::SetPayoutDestinationRequest {
            account_id: account_id.clone(),
            destination: format!("virtual:island-{island}"),
        };
        client.set_payout_destination(request).await.unwrap();
        islands.push(account_id);
    }
    let reservation = reserve_request(1, &consumer, wealth, wealth);
    client.reserve(reservation).await.unwrap();
    (consumer, islands)
}

/// Every payout, once all of them are paid.
async fn paid_out(client: &mut Client) -> Vec<pb::Payout> {
    loop {
        let request = pb::ListPayoutsRequest {
            page_size: 1_000,
            ..pb::ListPayoutsRequest::default()
        };
        let payouts = client.list_payouts(request).await.unwrap().into_inner().payouts;
        if !payouts.is_empty()
            && payouts
                .iter()
                .all(|payout| payout.state() == pb::PayoutState::Paid)
        {
            return payouts;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_booked_twice_when_billing_is_killed_under_load() {
    let kills = number("ATOLL_LONG_COUNT", KILLS);
    let mut rng = fastrand::Rng::with_seed(number("ATOLL_LONG_SEED", 1));
    let leases = kills * LEASES_PER_KILL;
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path());
    let mut client = client_of(program.address).await;
    let (consumer, islands) = open_market(&mut client, leases).await;

    let (acknowledged, mut watched) = tokio::sync::watch::channel(0);
    for kill in 0..kills {
        let kill_at = kill * LEASES_PER_KILL + rng.u64(0..LEASES_PER_KILL);
        let sender = acknowledged.clone();
        let mut sending = client.clone();
        let load = tokio::spawn(async move { send_all(&mut sending, leases, &sender).await });
        watched.wait_for(|through| *through >= kill_at).await.unwrap();
        program.kill();
        load.await.unwrap();
        program = Program::start(folder.path());
        client = client_of(program.address).await;
        // What was acknowledged is there.
        let (kept, promised) = (cursor(&mut client).await, *acknowledged.borrow());
        assert!(kept >= promised, "{kept} after {promised}, kill {kill}");
        assert_clean(&mut client).await;
    }
    send_all(&mut client, leases, &acknowledged).await;
    // The last batch may have been booked, and its answer lost.
    assert_eq!(cursor(&mut client).await, leases);
    // The exchange may send everything once more.
    for from in (1..=leases).step_by(usize::try_from(PER_BATCH).unwrap()) {
        let answer = client.settle(batch(from + PER_BATCH - 1, claims(from))).await;
        let answer = answer.unwrap().into_inner();
        assert_eq!((answer.through_sequence, answer.refusals), (leases, vec![]));
    }
    assert_eq!(balances(&mut client, &consumer).await, [0, 0, 0]);
    let payouts = paid_out(&mut client).await;
    let each = EARNED * i64::try_from(leases.div_euclid(ISLANDS)).unwrap();
    for island in &islands {
        let of_island = payouts.iter().filter(|payout| payout.account_id == *island);
        let paid: i64 = of_island.map(|payout| payout.amount_nano).sum();
        assert!(paid > 0, "the weekly run found {island}");
        while balances(&mut client, island).await != [each - paid, 0, 0] {
            tokio::task::yield_now().await;
        }
    }
    // The provider was asked again after a kill, and paid each once.
    let book = std::fs::read_to_string(folder.path().join("data").join(VIRTUAL_FILE)).unwrap();
    assert_eq!(book.lines().count(), payouts.len());
    for payout in &payouts {
        assert_eq!(book.matches(&payout.payout_id).count(), 1, "{payout:?}");
    }
    let report = assert_clean(&mut client).await;
    let leases = i64::try_from(leases).unwrap();
    assert_eq!(
        (report.fees_nano, report.pool_nano, report.held),
        (leases * 11_200_000, leases * 2_800_000, 0)
    );
    drop(program);

    // The audit of the files that the last kill left, by the program itself.
    let audit = Command::new(env!("CARGO_BIN_EXE_billing"))
        .args(["audit", "--data"])
        .arg(folder.path().join("data"))
        .output()
        .unwrap();
    let text = String::from_utf8(audit.stdout).unwrap();
    assert!(
        audit.status.success() && text.contains("verdict    clean"),
        "{text}"
    );
    println!(
        "{kills} kills, {leases} leases, {} payouts: nothing lost, nothing twice",
        payouts.len()
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_terminated_billing_drains_and_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path());
    let mut client = client_of(program.address).await;
    account(&mut client, "ada", 5).await;
    drop(client);
    let pid = rustix::process::Pid::from_child(&program.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = tokio::task::spawn_blocking(move || program.child.wait().unwrap())
        .await
        .unwrap();
    assert!(status.success(), "{status}");
    let log = std::fs::metadata(folder.path().join("data/billing.sqlite-wal"));
    assert!(log.map_or(true, |log| log.len() == 0));
}

#[test]
fn an_audit_of_nothing_and_a_wrong_configuration_fail_with_words() {
    let folder = tempfile::tempdir().unwrap();
    let audit = Command::new(env!("CARGO_BIN_EXE_billing"))
        .args(["audit", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&audit.stderr).into_owned();
    assert!(!audit.status.success() && log.contains("could not open"), "{log}");
    assert!(!folder.path().join("billing.sqlite").exists());

    let config = folder.path().join("billing.toml");
    std::fs::write(&config, "service_token = 'short'\n[maturity]\ninterval_ms = 0\n").unwrap();
    let start = Command::new(env!("CARGO_BIN_EXE_billing"))
        .arg("--config")
        .arg(&config)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&start.stderr).into_owned();
    assert!(!start.status.success(), "{log}");
    assert!(
        log.contains("2 mistake(s)") && log.contains("interval_ms"),
        "{log}"
    );
}
