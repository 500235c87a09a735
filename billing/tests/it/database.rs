//! The database by itself: what it refuses although no program of ours stands before it, and files that are no books.

use std::path::Path;

use billing::store::sqlite::SqliteStore;
use billing::store::{Durability, LedgerStore, OpenError, Outcome, StoreError};
use domain::AccountId;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use crate::support::{at, books, grant, open_owner, settle, settlement, sqlite};

pub(crate) async fn direct(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .connect()
        .await
        .unwrap()
}

/// Tries a statement; returns what the database objects.
pub(crate) async fn objection(connection: &mut SqliteConnection, sql: &'static str) -> String {
    match sqlx::query(sql).execute(&mut *connection).await {
        Ok(done) => format!("accepted, {} rows", done.rows_affected()),
        Err(error) => error
            .as_database_error()
            .map_or_else(|| error.to_string(), |error| error.message().to_owned()),
    }
}

#[tokio::test]
async fn the_database_itself_refuses_what_breaks_the_books() {
    let books = books().await;
    books.fund().await;
    books.take(settle(settlement(5, 1, 1, 2, 1_500))).await;
    books.leave_a_row_in_every_table().await;
    let mut db = direct(&books.folder.path().join("billing.sqlite")).await;
    // Owner 1's accounts: available 1048577, reserved 1048578, pending 1048579. Grants are 8, fees 9.
    let attacks = [
        (
            "UPDATE transfers SET amount = 1 WHERE number = 1",
            "a transfer never changes",
        ),
        ("UPDATE transfers SET memo = 'x'", "a transfer never changes"),
        ("DELETE FROM transfers", "a transfer is never deleted"),
        (
            "INSERT OR REPLACE INTO transfers SELECT number, id, kind, mode, pending_id, debit, credit, 1, job, memo, created_at FROM transfers WHERE number = 1",
            "a transfer is booked once",
        ),
        (
            "INSERT OR REPLACE INTO transfers (id, kind, mode, debit, credit, amount, memo, created_at) SELECT id, 'grant', 0, 8, 1048577, 5, '', 0 FROM transfers WHERE number = 1",
            "a transfer is booked once",
        ),
        (
            "INSERT INTO transfers (id, kind, mode, debit, credit, amount, memo, created_at) VALUES (randomblob(16), 'reserve', 0, 1048577, 1048578, 500000000001, '', 0)",
            "CHECK constraint failed: no_overdraft",
        ),
        (
            "INSERT INTO transfers (id, kind, mode, debit, credit, amount, memo, created_at) VALUES (randomblob(16), 'payout', 1, 1048577, 11, 500000000001, '', 0)",
            "CHECK constraint failed: no_overdraft",
        ),
        (
            "INSERT INTO transfers (id, kind, mode, debit, credit, amount, memo, created_at) VALUES (randomblob(16), 'grant', 0, 8, 1048577, 9223372036854775807, '', 0)",
            "cannot store REAL value in INTEGER column accounts.debits_posted",
        ),
        (
            "INSERT INTO transfers (id, kind, mode, debit, credit, amount, memo, created_at) VALUES (randomblob(16), 'grant', 0, 8, 1048577, 0, '', 0)",
            "CHECK constraint failed: amount > 0",
        ),
        (
            "INSERT INTO transfers (id, kind, mode, debit, credit, amount, memo, created_at) VALUES (randomblob(16), 'grant', 0, 8, 1048577, -5, '', 0)",
            "CHECK constraint failed: amount > 0",
        ),
        (
            "INSERT INTO transfers (id, kind, mode, debit, credit, amount, memo, created_at) VALUES (randomblob(16), 'grant', 0, 8, 1048577, 1.5, '', 0)",
            "cannot store REAL value in INTEGER column transfers.amount",
        ),
        (
            "INSERT INTO transfers (id, kind, mode, debit, credit, amount, memo, created_at) VALUES (randomblob(16), 'grant', 0, 8, 8, 5, '', 0)",
            "CHECK constraint failed: debit <> credit",
        ),
        (
            "INSERT INTO transfers (id, kind, mode, debit, credit, amount, memo, created_at) VALUES (randomblob(16), 'grant', 0, 8, 99, 5, '', 0)",
            "FOREIGN KEY constraint failed",
        ),
        (
            "DELETE FROM accounts WHERE id = 1048577",
            "an account is never deleted",
        ),
        (
            "UPDATE accounts SET kind = 8 WHERE id = 1048577",
            "an account never changes hands",
        ),
        (
            "UPDATE accounts SET debits_posted = -1 WHERE id = 1048577",
            "CHECK constraint failed: debits_posted >= 0",
        ),
        (
            "UPDATE accounts SET debits_posted = credits_posted + 1 WHERE id = 1048577",
            "CHECK constraint failed: no_overdraft",
        ),
        (
            "INSERT OR REPLACE INTO accounts (id, owner, kind) VALUES (1048577, 1, 1)",
            "an account is opened once",
        ),
        (
            "INSERT INTO accounts (id, owner, kind, shard, credits_posted) VALUES (1048594, 1, 2, 1, 5)",
            "an account opens empty",
        ),
        ("UPDATE settlements SET charge = 1", "a settlement never changes"),
        ("DELETE FROM settlements", "a settlement is never deleted"),
        (
            "INSERT OR REPLACE INTO settlements SELECT shard, lease, 9, job, epoch, consumer, island_owner, island, model, price, units, charge, fee, liquidity, pool_subsidy, compensation, billed_before, refusal, refusal_message, created_at + 864000000000, standing FROM settlements",
            "a lease is settled once",
        ),
        ("DELETE FROM owners", "an owner is never deleted"),
        (
            "INSERT OR REPLACE INTO owners (id, request_id, display_name, created_at) VALUES (1, 'other', 'x', 0)",
            "an owner is made once",
        ),
        (
            "INSERT OR REPLACE INTO api_keys (id, owner, name, scope, prefix, secret_sha256, created_at) SELECT id, 2, name, scope, prefix, secret_sha256, created_at FROM api_keys",
            "a key is made once",
        ),
        (
            "INSERT OR REPLACE INTO engine_cursor (shard, epoch, sequence) VALUES (0, 0, 4)",
            "a cursor only moves forward",
        ),
        (
            "UPDATE engine_cursor SET sequence = 4",
            "a cursor only moves forward",
        ),
        ("DELETE FROM engine_cursor", "a cursor is never deleted"),
        (
            "INSERT OR REPLACE INTO matured SELECT account, 0 FROM matured",
            "maturity only moves forward",
        ),
        ("DELETE FROM matured", "what matured stays matured"),
        ("UPDATE fenced_days SET day = 9", "a fence never changes"),
        ("DELETE FROM fenced_days", "a fence stays"),
        (
            "INSERT OR REPLACE INTO fenced_days (day) VALUES (0)",
            "a day is fenced once",
        ),
        (
            "UPDATE closed_days SET settlements = 9",
            "a day that is closed never changes",
        ),
        ("DELETE FROM closed_days", "a day that is closed stays closed"),
        (
            "INSERT INTO closed_days (day, settlements, root, closed_at) VALUES (5, 0, zeroblob(32), 0)",
            "a day is fenced before it is closed",
        ),
        ("UPDATE seals SET hash = zeroblob(32)", "a seal never changes"),
        ("DELETE FROM seals", "a seal is never deleted"),
        (
            "INSERT INTO seals (first, through, hash) VALUES (1, 9, zeroblob(32))",
            "a seal follows the one before",
        ),
    ];
    for (attack, expected) in attacks {
        assert_eq!(objection(&mut db, attack).await, expected, "{attack}");
    }
    db.close().await.unwrap();
    books.assert_clean().await;
}

#[tokio::test]
async fn the_database_itself_refuses_a_second_resolution() {
    let books = books().await;
    books.fund().await;
    let mut db = direct(&books.folder.path().join("billing.sqlite")).await;
    let hold = "INSERT INTO transfers (id, kind, mode, debit, credit, amount, memo, created_at) VALUES (unhex('000000000000000000000000000000AA'), 'payout', 1, 1048577, 11, 5, '', 1)";
    assert_eq!(objection(&mut db, hold).await, "accepted, 1 rows");
    let post_more = "INSERT INTO transfers (id, kind, mode, pending_id, debit, credit, amount, memo, created_at) VALUES (randomblob(16), 'payout', 2, unhex('000000000000000000000000000000AA'), 1048577, 11, 6, '', 1)";
    let post_other = "INSERT INTO transfers (id, kind, mode, pending_id, debit, credit, amount, memo, created_at) VALUES (randomblob(16), 'payout', 2, unhex('000000000000000000000000000000AA'), 2097153, 11, 5, '', 1)";
    for wrong in [post_more, post_other] {
        assert_eq!(
            objection(&mut db, wrong).await,
            "a transfer resolves a pending one of the same accounts and amount"
        );
    }
    let post = "INSERT INTO transfers (id, kind, mode, pending_id, debit, credit, amount, memo, created_at) VALUES (randomblob(16), 'payout', 2, unhex('000000000000000000000000000000AA'), 1048577, 11, 5, '', 1)";
    let void = "INSERT INTO transfers (id, kind, mode, pending_id, debit, credit, amount, memo, created_at) VALUES (randomblob(16), 'payout', 3, unhex('000000000000000000000000000000AA'), 1048577, 11, 5, '', 1)";
    assert_eq!(objection(&mut db, post).await, "accepted, 1 rows");
    for again in [post, void] {
        assert_eq!(
            objection(&mut db, again).await,
            "a pending transfer resolves once"
        );
    }
    db.close().await.unwrap();
    // The audit tells that billing did not write these.
    let findings = books.store.audit().await.unwrap().findings;
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(
        findings.iter().all(|finding| finding.contains("is not sealed")),
        "{findings:?}"
    );
}

#[tokio::test]
async fn an_audit_finds_what_was_changed_behind_the_triggers() {
    for (tampering, found) in [
        (
            "UPDATE accounts SET credits_posted = credits_posted + 5 WHERE id = 1048577",
            "its transfers make",
        ),
        (
            "DROP TRIGGER transfers_stay; UPDATE transfers SET amount = amount - 1 WHERE number = 1",
            "its transfers make",
        ),
        (
            "DROP TRIGGER transfers_remain; DELETE FROM transfers WHERE kind = 'fee'",
            "fee transfers come to 0",
        ),
        (
            "DROP TRIGGER settlements_stay; UPDATE settlements SET fee = 1",
            "the charge makes it",
        ),
        (
            "DROP TRIGGER transfers_stay; UPDATE transfers SET kind = 'void' WHERE number = 1",
            "is a `void`",
        ),
        (
            "DROP TRIGGER transfers_stay; UPDATE transfers SET created_at = 99 WHERE number = 1",
            "was booked before",
        ),
        (
            "DROP TRIGGER transfers_stay; UPDATE transfers SET memo = 'x' WHERE number = 1",
            "are not those that were sealed",
        ),
        (
            "DROP TRIGGER transfers_remain; DELETE FROM transfers WHERE number = (SELECT max(number) FROM transfers)",
            "that were sealed are gone",
        ),
        (
            "DROP TRIGGER seals_remain; DELETE FROM seals WHERE first = 1",
            "is not sealed",
        ),
        (
            "DROP TRIGGER transfers_stay; UPDATE transfers SET credit = 1048579 WHERE kind = 'charge'",
            "are not the legs that the settlements have",
        ),
    ] {
        let books = books().await;
        books.fund().await;
        books.take(settle(settlement(5, 1, 1, 2, 1_500))).await;
        let mut db = direct(&books.folder.path().join("billing.sqlite")).await;
        sqlx::raw_sql(tampering).execute(&mut db).await.unwrap();
        db.close().await.unwrap();
        let findings = books.store.audit().await.unwrap().findings;
        assert!(
            findings.iter().any(|finding| finding.contains(found)),
            "{tampering}: {findings:?}"
        );
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_a_finding_and_not_the_end_of_the_audit() {
    let spoilt = [
        "DROP TRIGGER settlements_stay; UPDATE settlements SET price = -7",
        "DROP TRIGGER matured_advances; UPDATE matured SET account = 5",
        "DROP TRIGGER closed_days_stay; UPDATE closed_days SET root = x'00'",
        "DROP TRIGGER engine_cursor_advances; UPDATE engine_cursor SET sequence = -1",
    ];
    for tampering in spoilt {
        let books = books().await;
        books.fund().await;
        books.take(settle(settlement(5, 1, 1, 2, 1_500))).await;
        books.leave_a_row_in_every_table().await;
        let mut db = direct(&books.folder.path().join("billing.sqlite")).await;
        sqlx::raw_sql("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON")
            .execute(&mut db)
            .await
            .unwrap();
        sqlx::raw_sql(tampering).execute(&mut db).await.unwrap();
        db.close().await.unwrap();
        let report = books.store.audit().await.unwrap();
        assert!(!report.is_clean(), "{tampering}");
        // It went on to the end all the same.
        assert!(report.transfers > 5 && report.accounts > 5, "{report:?}");
    }
}

#[tokio::test]
async fn books_that_lost_every_seal_are_refused_and_not_sealed_anew() {
    let books = books().await;
    books.fund().await;
    let path = books.folder.path().join("billing.sqlite");
    let mut db = direct(&path).await;
    sqlx::raw_sql("DROP TRIGGER seals_remain; DELETE FROM seals")
        .execute(&mut db)
        .await
        .unwrap();
    db.close().await.unwrap();
    for _ in 0..2 {
        let error = SqliteStore::open(&path, Durability::Synced).await.unwrap_err();
        assert!(matches!(error, OpenError::Unusable { .. }), "{error:?}");
    }
    assert!(!SqliteStore::audit_file(&path).await.unwrap().is_clean());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("billing.sqlite");
    std::fs::write(&path, vec![b'x'; 8_192]).unwrap();
    let error = SqliteStore::open(&path, Durability::Synced).await.unwrap_err();
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
    assert!(error.to_string().contains("restore it from a backup"), "{error}");
    assert!(SqliteStore::audit_file(&path).await.is_err());
}

#[tokio::test]
async fn damaged_pages_are_found_by_the_audit_and_not_taken_for_books() {
    let books = books().await;
    books.fund().await;
    books.store.close().await.unwrap();
    let path = books.folder.path().join("billing.sqlite");
    let mut bytes = std::fs::read(&path).unwrap();
    // Every page but the first, which has the schema's root.
    bytes[4_096..].fill(0x5A);
    drop(books.store);
    std::fs::write(&path, bytes).unwrap();
    match SqliteStore::audit_file(&path).await {
        Ok(report) => assert!(!report.is_clean()),
        Err(error) => assert!(format!("{error:#}").contains("damaged"), "{error:#}"),
    }
}

#[tokio::test]
async fn a_database_of_a_later_version_is_refused() {
    let books = books().await;
    let path = books.folder.path().join("billing.sqlite");
    let mut db = direct(&path).await;
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)")
        .execute(&mut db)
        .await
        .unwrap();
    db.close().await.unwrap();
    let error = SqliteStore::open(&path, Durability::Synced).await.unwrap_err();
    assert!(matches!(error, OpenError::Migrate { .. }), "{error:?}");
    // Nor does an audit guess what a later version means.
    let error = SqliteStore::audit_file(&path).await.unwrap_err();
    assert!(error.to_string().contains("schema"), "{error:#}");
}

#[tokio::test]
async fn a_locked_database_is_an_error_that_says_so_and_books_nothing() {
    let books = books().await;
    books.take(open_owner("a")).await;
    let mut db = direct(&books.folder.path().join("billing.sqlite")).await;
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut db).await.unwrap();
    let error = books.store.commit(&[grant(1, 1, 5)], at(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    sqlx::query("ROLLBACK").execute(&mut db).await.unwrap();
    // The same change goes through once the lock is gone.
    let outcome = books.take(grant(1, 1, 5)).await;
    assert_eq!(outcome, Outcome::Booked(ledger::Applied::Booked));
    let balances = books.store.balances(AccountId::new(1)).await.unwrap().unwrap();
    assert_eq!(balances.available.as_nano(), 5);
}

#[tokio::test]
async fn books_that_are_dropped_without_a_close_open_again_whole() {
    let books = books().await;
    books.fund().await;
    let path = books.folder.path().join("billing.sqlite");
    // A copy of the files as they are, the log not merged: what a crash leaves.
    let crashed = tempfile::tempdir().unwrap();
    for name in ["billing.sqlite", "billing.sqlite-wal"] {
        std::fs::copy(books.folder.path().join(name), crashed.path().join(name)).unwrap();
    }
    assert!(
        std::fs::metadata(path.with_extension("sqlite-wal"))
            .unwrap()
            .len()
            > 0
    );
    let again = SqliteStore::open(&crashed.path().join("billing.sqlite"), Durability::Synced)
        .await
        .unwrap();
    let balances = again.balances(AccountId::new(1)).await.unwrap().unwrap();
    assert_eq!(balances.reserved.as_nano(), 500_000_000_000);
    assert!(again.audit().await.unwrap().is_clean());
}

/// Books of the first schema: an owner, a grant, an earning that matured.
const BOOKS_BEFORE: &str = "
    INSERT INTO owners (id, request_id, display_name, created_at) VALUES (1, 'a', 'a', 1);
    INSERT INTO accounts (id, owner, kind) VALUES (1048577, 1, 1), (1048578, 1, 2), (1048579, 1, 3);
    INSERT INTO transfers (id, kind, mode, debit, credit, amount, memo, created_at) VALUES
        (unhex('00000000000000000000000000000001'), 'grant', 0, 8, 1048577, 100, '', 1),
        (unhex('00000000000000000000000000000002'), 'reserve', 0, 1048577, 1048578, 60, '', 2),
        (unhex('00000000000000000000000000000003'), 'payout', 1, 1048577, 11, 5, '', 3);
    INSERT INTO maturity (owner, matured_through) VALUES (1, 3)";

#[tokio::test]
async fn books_of_the_first_schema_are_brought_up_whole_and_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("billing.sqlite");
    let mut db = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    let migrations = Migrator::new(Path::new("migrations/sqlite")).await.unwrap();
    migrations.run_to(1, &mut db).await.unwrap();
    sqlx::raw_sql(BOOKS_BEFORE).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    let behind = SqliteStore::audit_file(&path).await.unwrap_err();
    assert!(behind.to_string().contains("billing migrate"), "{behind:#}");
    for _ in 0..2 {
        let store = SqliteStore::open(&path, Durability::Synced).await.unwrap();
        let report = store.audit().await.unwrap();
        assert_eq!(report.findings, Vec::<String>::new());
        assert_eq!(
            (report.transfers, report.held, report.reserved.as_nano()),
            (3, 1, 60)
        );
        let balances = store.balances(AccountId::new(1)).await.unwrap().unwrap();
        assert_eq!(
            (balances.available.as_nano(), balances.reserved.as_nano()),
            (35, 60)
        );
        store.close().await.unwrap();
    }
    let mut db = direct(&path).await;
    let refused = objection(
        &mut db,
        "UPDATE accounts SET debits_posted = 99 WHERE id = 1048577",
    )
    .await;
    assert_eq!(refused, "CHECK constraint failed: no_overdraft");
    let kept = sqlx::query("SELECT account, through FROM matured")
        .fetch_one(&mut db)
        .await
        .unwrap();
    assert_eq!((kept.get::<i64, _>(0), kept.get::<i64, _>(1)), (1_048_579, 3));
}

#[tokio::test]
async fn a_day_is_read_beside_the_writer() {
    let books = sqlite(Durability::Lost).await;
    books.fund().await;
    let settlements: Vec<_> = (1..=6_000)
        .map(|lease| settle(settlement(lease, lease, 1, 2, 1)))
        .collect();
    books.store.commit(&settlements, at(1)).await.unwrap();
    let day = books.store.first_open_day().await.unwrap().unwrap();
    let closing = books.store.close_day(day, day.end());
    let mut closing = std::pin::pin!(closing);
    let mut booked_meanwhile = 0;
    let closed = loop {
        let id = 1_000_000 + booked_meanwhile;
        tokio::select! {
            biased;
            closed = &mut closing => break closed.unwrap(),
            outcome = books.take(grant(id, 1, 1)) => {
                assert_eq!(outcome, Outcome::Booked(ledger::Applied::Booked));
                booked_meanwhile += 1;
            }
        }
    };
    assert_eq!((closed.day, closed.settlements), (day, 6_000));
    // One that held the writer from its first look to its last row would have let nobody through.
    assert!(booked_meanwhile > 0);
    books.assert_clean().await;
}
