//! Starting, draining, maturing.

use billing::closing::close_and_export;
use billing::store::LedgerStore;
use billing::store::merkle::Day;
use billing::{Config, Maturity};
use domain::Timestamp;
use service::shutdown::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    TestDatabase, account, assert_clean, balances, batch, books, client_of, config, nano, reserve_request,
    serve_in, served, settle, settlement, traded,
};

#[tokio::test]
async fn earnings_mature_by_themselves_and_can_be_spent() {
    let maturity = Maturity {
        delay_ms: 0,
        probation_delay_ms: 0,
        interval_ms: 1,
    };
    let mut served = serve_in(tempfile::tempdir().unwrap(), maturity).await;
    let client = &mut served.client;
    let (_, island) = traded(client, 1_000_000_000).await;
    while balances(client, &island).await != [150_000_000, 0, 0] {
        tokio::task::yield_now().await;
    }
    client
        .reserve(reserve_request(2, &island, 150_000_000, 150_000_000))
        .await
        .unwrap();
    assert_eq!(balances(client, &island).await, [0, 150_000_000, 0]);
    assert_clean(client).await;
    served.stop().await;
}

#[tokio::test]
async fn earnings_are_held_back_for_a_day_by_default() {
    let delays = Maturity::default().delays();
    assert_eq!(delays.established.as_secs(), 24 * 3_600);
    assert_eq!(delays.probation.as_secs(), 72 * 3_600);
}

#[tokio::test]
async fn a_stop_leaves_one_whole_file_and_frees_the_folder() {
    let mut served = served().await;
    account(&mut served.client, "ada", 5).await;
    let folder = served.stop().await;
    for beside in ["billing.sqlite-wal", "billing.sqlite-shm"] {
        assert!(!folder.path().join(beside).exists(), "{beside}");
    }
    let mut served = serve_in(folder, Maturity::default()).await;
    assert_eq!(balances(&mut served.client, "acc_1").await, [5, 0, 0]);
    served.stop().await;
}

#[tokio::test]
async fn a_stop_answers_the_calls_that_are_under_way() {
    let mut served = served().await;
    let id = account(&mut served.client, "ada", 1_000).await;
    let calls: Vec<_> = (0..200u128)
        .map(|number| {
            let (mut client, request) = (served.client.clone(), reserve_request(number, &id, 1, 1));
            tokio::spawn(async move { client.reserve(request).await.is_ok() })
        })
        .collect();
    tokio::task::yield_now().await;
    let folder = served.stop().await;
    let mut answered = 0;
    for call in calls {
        answered += i64::from(call.await.unwrap());
    }
    // What was answered is there; what was not may be or not, and nothing else is.
    let mut served = serve_in(folder, Maturity::default()).await;
    let [available, reserved, _] = balances(&mut served.client, &id).await;
    assert!(
        (answered..=200).contains(&reserved),
        "{answered} answered, {reserved} reserved"
    );
    assert_eq!(available + reserved, 1_000);
    assert_clean(&mut served.client).await;
    served.stop().await;
}

#[tokio::test]
async fn two_billings_never_share_a_folder() {
    let served = served().await;
    let error = billing::start(config(&served.folder), Shutdown::manual())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("in use by another billing"),
        "{error:#}"
    );
    served.stop().await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_that_names_it() {
    let served = served().await;
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        listen: served.running.address,
        ..config(&folder)
    };
    let error = billing::start(config, Shutdown::manual()).await.unwrap_err();
    assert!(
        error.to_string().contains(&served.running.address.to_string()),
        "{error:#}"
    );
    served.stop().await;
}

#[tokio::test]
async fn a_broken_database_stops_the_start_with_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("billing.sqlite"), [7; 9_000]).unwrap();
    let error = billing::start(config(&folder), Shutdown::manual())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("not a database of billing"),
        "{error:#}"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn the_books_are_for_their_owners_eyes_only() {
    use std::os::unix::fs::PermissionsExt;
    let mut served = served().await;
    account(&mut served.client, "ada", 5).await;
    for name in ["billing.sqlite", "billing.sqlite-wal", "billing.lock"] {
        let mode = std::fs::metadata(served.folder.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    served.stop().await;
}

#[test]
fn every_code_has_its_page() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = [
        "src/error.rs",
        "src/writer.rs",
        "src/store/plan.rs",
        "ledger/src/reject.rs",
        "ledger/src/settlement.rs",
    ];
    let mut codes = std::collections::BTreeSet::new();
    for source in sources {
        let text = std::fs::read_to_string(root.join(source)).unwrap();
        let quoted = text.split('"').skip(1).step_by(2);
        let is_code = |word: &&str| {
            word.len() > 3 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        };
        codes.extend(quoted.filter(is_code).map(str::to_owned));
    }
    assert!(codes.len() > 25, "{codes:?}");
    let missing: Vec<&String> = codes
        .iter()
        .filter(|code| !root.join("../docs/errors").join(format!("{code}.md")).exists())
        .collect();
    assert_eq!(missing, Vec::<&String>::new());
}

#[tokio::test]
async fn a_stream_that_nobody_closes_does_not_keep_billing_from_stopping() {
    let mut served = served().await;
    let id = account(&mut served.client, "ada", 1_000).await;
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", served.running.address));
    let channel = endpoint.unwrap().connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let request = tonic_health::pb::HealthCheckRequest::default();
    let mut watching = health.watch(request).await.unwrap().into_inner();
    watching.message().await.unwrap().unwrap();
    let folder = served.stop().await;
    let mut served = serve_in(folder, Maturity::default()).await;
    assert_eq!(balances(&mut served.client, &id).await, [1_000, 0, 0]);
    served.stop().await;
}

/// Runs the program; returns whether it succeeded and what it said.
fn program(arguments: &[&str]) -> (bool, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_billing"))
        .args(arguments)
        .env_remove("ATOLL_BILLING_DATABASE")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.success(), said.concat())
}

#[tokio::test]
async fn a_service_keeps_its_books_in_postgresql() {
    let database = TestDatabase::make().await;
    let folder = tempfile::tempdir().unwrap();
    let config = |migrate_on_start| billing::Config {
        database: Some(service::secret::Secret::new(database.address())),
        migrate_on_start,
        ..config(&folder)
    };
    let behind = billing::start(config(false), Shutdown::manual())
        .await
        .unwrap_err();
    assert!(behind.to_string().contains("billing migrate"), "{behind:#}");
    let (migrated, said) = program(&["migrate", "--database", &database.address()]);
    assert!(migrated, "{said}");

    let shutdown = Shutdown::manual();
    let running = billing::start(config(false), shutdown.clone()).await.unwrap();
    let mut client = client_of(running.address).await;
    let consumer = account(&mut client, "consumer", 1_000_000_000).await;
    let island = account(&mut client, "island", 0).await;
    let reserve = reserve_request(1, &consumer, 1, 1_000_000_000);
    client.reserve(reserve).await.unwrap();
    let settled = batch(5, vec![settlement(5, 1, 1, 2, 1_500)]);
    assert_eq!(client.settle(settled).await.unwrap().into_inner().refusals, []);
    assert_eq!(balances(&mut client, &island).await, [0, 0, 150_000_000]);
    assert_clean(&mut client).await;
    shutdown.trigger();
    running.join.await.unwrap().unwrap();

    let (clean, said) = program(&["audit", "--database", &database.address()]);
    assert!(clean && said.contains("clean"), "{said}");
    let (nowhere, said) = program(&["audit"]);
    assert!(!nowhere && said.contains("--data"), "{said}");
}

#[tokio::test]
async fn a_day_that_is_over_is_closed_and_its_root_exported_once() {
    let books = books().await;
    books.fund().await;
    let day = Day::new(20_000);
    let noon = Timestamp::from_micros(day.start().as_micros() + 1);
    let change = settle(settlement(1, 1, 1, 2, 1_000));
    books.store.commit(&[change], noon).await.unwrap();
    let exports = books.folder.path().join("roots");
    let close = |seconds: u64| {
        let now = Timestamp::from_micros(day.end().as_micros() + seconds * 1_000_000);
        close_and_export(&*books.store, &exports, now)
    };
    close(1).await.unwrap();
    assert_eq!(books.store.closed_days(None, 10).await.unwrap(), []);
    close(3_600).await.unwrap();
    let [closed] = books.store.closed_days(None, 10).await.unwrap()[..] else {
        panic!("one day is closed")
    };
    let file = exports.join("2024-10-04.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let exported: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(exported["root"], data_encoding::HEXLOWER.encode(&closed.root));
    assert_eq!(exported["settlements"], 1);
    // The chain's head as it was when the day ended: whoever has the file can tell whether anything before was touched.
    let head = books.store.audit().await.unwrap().chain_head.unwrap();
    assert_eq!(exported["chain"]["hash"], data_encoding::HEXLOWER.encode(&head));
    assert_eq!(exported["chain"]["through"], 5);
    // A file that is gone is written again; one that is there is left alone.
    std::fs::remove_file(&file).unwrap();
    close(3_601).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    std::fs::write(&file, "kept").unwrap();
    close(3_602).await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
}

#[tokio::test]
async fn prometheus_finds_what_was_counted() {
    let folder = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::manual();
    let config = billing::Config {
        metrics_listen: "127.0.0.1:0".into(),
        ..crate::support::config(&folder)
    };
    let running = billing::start(config, shutdown.clone()).await.unwrap();
    let mut client = client_of(running.address).await;
    let consumer = account(&mut client, "consumer", 1_000_000_000).await;
    account(&mut client, "island", 0).await;
    let reservation = reserve_request(1, &consumer, 1_000_000_000, 1_000_000_000);
    client.reserve(reservation.clone()).await.unwrap();
    client
        .reserve(reserve_request(2, &consumer, 1, 1))
        .await
        .unwrap_err();
    let claim = batch(5, vec![settlement(5, 1, 1, 2, 1_500)]);
    for _ in 0..2 {
        client.settle(claim.clone()).await.unwrap();
    }
    let mut wrong = settlement(6, 2, 1, 2, 1_500);
    wrong.bill.fee = nano(1);
    client.settle(batch(6, vec![wrong])).await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(running.metrics.unwrap())
        .await
        .unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
    let mut shown = String::new();
    stream.read_to_string(&mut shown).await.unwrap();
    for line in [
        // A grant, a reservation, and three legs; what was repeated moved nothing.
        "billing_transfers_total 5",
        "billing_settlements_total 2",
        "billing_refusals_total{code=\"INSUFFICIENT_FUNDS\"} 1",
        "billing_refusals_total{code=\"FEE_MISMATCH\"} 1",
        "billing_batches_total 8",
        "billing_batch_size_bucket{le=\"1\"} 5",
        "billing_commit_seconds_count 8",
        "billing_commit_failures_total 0",
        "billing_queued_calls 0",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    shutdown.trigger();
    running.join.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_address_for_prometheus_that_is_none_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let config = billing::Config {
        metrics_listen: "everywhere".into(),
        ..crate::support::config(&folder)
    };
    let error = billing::start(config, Shutdown::manual()).await.unwrap_err();
    assert!(format!("{error:#}").contains("metrics_listen"), "{error:#}");
}
