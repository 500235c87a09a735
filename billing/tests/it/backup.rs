//! Backups: taken under load, restored elsewhere, and refused when something is wrong with them.

use std::path::Path;
use std::process::Command;

use proto::billing::v1 as pb;

use crate::support::{
    account, assert_clean, balances, batch, client_of, config, reserve_request, serve_in, served, settlement,
};

fn program(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_billing"))
        .args(arguments)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn a_backup_taken_under_load_is_restored_whole_and_clean() {
    let mut served = served().await;
    let consumer = account(&mut served.client, "consumer", 1_000_000_000_000).await;
    account(&mut served.client, "island", 0).await;
    let reserve = reserve_request(1, &consumer, 1, 900_000_000_000);
    served.client.reserve(reserve).await.unwrap();
    let mut writer = client_of(served.running.address).await;
    let load = tokio::spawn(async move {
        for sequence in 1..=300 {
            let claims = vec![settlement(sequence, sequence, 1, 2, 1_500)];
            writer.settle(batch(sequence, claims)).await.unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("books.backup");
    let (from, to) = (served.folder.path().to_owned(), file.clone());
    let backup = tokio::task::spawn_blocking(move || program(&["backup", "--data", text(&from), text(&to)]));
    let (done, said) = backup.await.unwrap();
    assert!(done && said.contains("clean"), "{said}");
    load.await.unwrap();
    // It is not written over.
    let (done, said) = program(&["backup", "--data", text(served.folder.path()), text(&file)]);
    assert!(!done && said.contains("never written over"), "{said}");
    // A folder that is in use, or has books, keeps them.
    let (done, said) = program(&["restore", "--data", text(served.folder.path()), text(&file)]);
    assert!(!done && said.contains("in use by another billing"), "{said}");
    let used = served.stop().await;
    let (done, said) = program(&["restore", "--data", text(used.path()), text(&file)]);
    assert!(!done && said.contains("is there already"), "{said}");

    let fresh = tempfile::tempdir().unwrap();
    let (done, said) = program(&["restore", "--data", text(fresh.path()), text(&file)]);
    assert!(done && said.contains("verdict    clean"), "{said}");
    let mut served = serve_in(fresh, billing::Maturity::default()).await;
    let client = &mut served.client;
    let [available, reserved, _] = balances(client, &consumer).await;
    assert_eq!(available, 100_000_000_000);
    let shard = pb::GetSettlementCursorRequest { shard: 0 };
    let cursor = client
        .get_settlement_cursor(shard)
        .await
        .unwrap()
        .into_inner()
        .through_sequence;
    // What it cost a segment: charge and fee.
    let paid = i64::try_from(cursor).unwrap() * 153_000_000;
    assert_eq!(reserved, 900_000_000_000 - paid);
    // The exchange sends again what came after the backup.
    for sequence in cursor + 1..=300 {
        let claims = vec![settlement(sequence, sequence, 1, 2, 1_500)];
        client.settle(batch(sequence, claims)).await.unwrap();
    }
    assert_eq!(
        balances(client, &consumer).await[1],
        900_000_000_000 - 300 * 153_000_000
    );
    assert_clean(client).await;
    served.stop().await;
}

#[tokio::test]
async fn what_is_no_clean_backup_is_not_restored() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("books.backup");
    std::fs::write(&file, "these are no books").unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let (done, said) = program(&["restore", "--data", text(fresh.path()), text(&file)]);
    assert!(!done && said.contains("not a database of billing"), "{said}");
    let kept: Vec<String> = std::fs::read_dir(fresh.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(kept, ["billing.lock"]);
    // Nothing to back up: nothing is made.
    let (done, said) = program(&[
        "backup",
        "--data",
        text(fresh.path()),
        text(&folder.path().join("x")),
    ]);
    assert!(!done, "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    // The folder still serves.
    let running = billing::start(config(&fresh), service::shutdown::Shutdown::manual());
    drop(running.await.unwrap());
}

#[tokio::test]
async fn books_that_were_tampered_with_are_not_restored() {
    let mut served = served().await;
    account(&mut served.client, "ada", 5_000).await;
    let folder = served.stop().await;
    let file = folder.path().join("books.backup");
    let (done, said) = program(&["backup", "--data", text(folder.path()), text(&file)]);
    assert!(done, "{said}");
    let address = format!("sqlite:{}", file.display());
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&address)
        .await
        .unwrap();
    for statement in [
        "UPDATE accounts SET credits_posted = credits_posted + 1 WHERE owner = 1 AND kind = 1",
        "PRAGMA wal_checkpoint(TRUNCATE)",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    sqlx::Connection::close(connection).await.unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let (done, said) = program(&["restore", "--data", text(fresh.path()), text(&file)]);
    assert!(!done && said.contains("not clean"), "{said}");
    assert!(!fresh.path().join("billing.sqlite").exists());
}
