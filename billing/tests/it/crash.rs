//! SIGKILL of the program under settlement load, restart, and the whole stream sent again.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

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
            "listen = '127.0.0.1:0'\ndata_dir = '{}'\nservice_token = '{TOKEN}'\n[maturity]\ndelay_ms = 0\ninterval_ms = 3\n",
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

const LEASES: u64 = 3_000;
const PER_BATCH: u64 = 25;

fn claims(from: u64) -> Vec<Settlement> {
    (from..from + PER_BATCH)
        .map(|sequence| settlement(sequence, sequence, 1, 2, 7))
        .collect()
}

/// Sends batches from the cursor on until the stream is done or billing is gone; returns the last cursor that was
/// acknowledged.
async fn send_all(client: &mut Client, acknowledged: &tokio::sync::watch::Sender<u64>) {
    let request = pb::GetSettlementCursorRequest { shard: 0 };
    let Ok(cursor) = client.get_settlement_cursor(request).await else {
        return;
    };
    let mut next = cursor.into_inner().through_sequence + 1;
    while next <= LEASES {
        let through = next + PER_BATCH - 1;
        match client.settle(batch(through, claims(next))).await {
            Ok(answer) => assert_eq!(answer.into_inner().refusals, []),
            Err(_) => return,
        }
        acknowledged.send_replace(through);
        next = through + 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_booked_twice_when_billing_is_killed_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path());
    let mut client = client_of(program.address).await;
    let consumer = account(&mut client, "consumer", 10_000_000_000).await;
    let island = account(&mut client, "island", 0).await;
    client
        .reserve(reserve_request(1, &consumer, 10_000_000_000, 10_000_000_000))
        .await
        .unwrap();

    let (acknowledged, mut watched) = tokio::sync::watch::channel(0);
    for kill_at in [100, 500, 501, 900, 1_400, 1_425, 2_000, 2_600] {
        let sender = acknowledged.clone();
        let mut sending = client.clone();
        let load = tokio::spawn(async move { send_all(&mut sending, &sender).await });
        watched.wait_for(|through| *through >= kill_at).await.unwrap();
        program.kill();
        load.await.unwrap();
        program = Program::start(folder.path());
        client = client_of(program.address).await;
        // What was acknowledged is there.
        let request = pb::GetSettlementCursorRequest { shard: 0 };
        let cursor = client
            .get_settlement_cursor(request)
            .await
            .unwrap()
            .into_inner()
            .through_sequence;
        assert!(
            cursor >= *acknowledged.borrow(),
            "{cursor} after {}",
            *acknowledged.borrow()
        );
        assert_clean(&mut client).await;
    }
    send_all(&mut client, &acknowledged).await;
    assert_eq!(*acknowledged.borrow(), LEASES);
    // The exchange may send everything once more.
    for from in (1..=LEASES).step_by(usize::try_from(PER_BATCH).unwrap()) {
        let answer = client
            .settle(batch(from + PER_BATCH - 1, claims(from)))
            .await
            .unwrap()
            .into_inner();
        assert_eq!((answer.through_sequence, answer.refusals), (LEASES, vec![]));
    }
    // 7 units at 0.0001 credits are 700,000 nano-credits, the fee is 14,000.
    let leases = i64::try_from(LEASES).unwrap();
    assert_eq!(
        balances(&mut client, &consumer).await,
        [0, 10_000_000_000 - leases * 714_000, 0]
    );
    while balances(&mut client, &island).await != [leases * 700_000, 0, 0] {
        tokio::task::yield_now().await;
    }
    let report = assert_clean(&mut client).await;
    assert_eq!(
        (report.fees_nano, report.pool_nano),
        (leases * 11_200, leases * 2_800)
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
