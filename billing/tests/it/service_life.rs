//! Starting, draining, maturing.

use billing::{Config, Maturity};
use service::shutdown::Shutdown;

use crate::support::{
    account, assert_clean, balances, batch, config, reserve_request, serve_in, served, settlement,
};

#[tokio::test]
async fn earnings_mature_by_themselves_and_can_be_spent() {
    let maturity = Maturity {
        delay_ms: 0,
        interval_ms: 1,
    };
    let mut served = serve_in(tempfile::tempdir().unwrap(), maturity).await;
    let client = &mut served.client;
    let consumer = account(client, "consumer", 1_000_000_000).await;
    let island = account(client, "island", 0).await;
    client
        .reserve(reserve_request(1, &consumer, 1_000_000_000, 1_000_000_000))
        .await
        .unwrap();
    client
        .settle(batch(5, vec![settlement(5, 1, 1, 2, 1_500)]))
        .await
        .unwrap();
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
    assert_eq!(Maturity::default().delay().as_secs(), 24 * 3_600);
}

#[tokio::test]
async fn a_stop_leaves_one_whole_file_and_frees_the_folder() {
    let mut served = served().await;
    account(&mut served.client, "ada", 5).await;
    let folder = served.stop().await;
    let log = std::fs::metadata(folder.path().join("billing.sqlite-wal"));
    assert!(log.map_or(true, |log| log.len() == 0));
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
