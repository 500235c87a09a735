//! PostgreSQL by itself: what it refuses whoever asks, what the service's role has no right to, and how a store opens.

use std::sync::Arc;

use billing::store::postgres::{PostgresStore, Schema};
use billing::store::{Durability, LedgerStore, OpenError, Outcome, StoreError};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::support::{TestDatabase, at, grant, open_owner, postgres, settle, settlement};

/// Tries a statement; returns what the database objects.
pub(crate) async fn objection(connection: &mut PgConnection, sql: &str) -> String {
    match connection.execute(AssertSqlSafe(sql.to_owned())).await {
        Ok(done) => format!("accepted, {} rows", done.rows_affected()),
        Err(error) => error
            .as_database_error()
            .map_or_else(|| error.to_string(), |error| error.message().to_owned()),
    }
}

/// A transfer past billing: a number, a kind, a mode, debit, credit and amount.
fn insert(number: u32, kind: &str, mode: u8, debit: u64, credit: u64, amount: &str) -> String {
    format!(
        "INSERT INTO transfers (number, id, kind, mode, debit, credit, amount, memo, created_at) \
         VALUES ({number}, uuid_send(gen_random_uuid()), '{kind}', {mode}, {debit}, {credit}, {amount}, '', 1)"
    )
}

#[tokio::test]
async fn the_database_itself_refuses_what_breaks_the_books() {
    let books = postgres(Durability::Synced).await;
    books.fund().await;
    books.take(settle(settlement(5, 1, 1, 2, 1_500))).await;
    books.leave_a_row_in_every_table().await;
    let mut db = books.database.as_ref().unwrap().direct().await;
    // Owner 1's accounts: available 1048577, reserved 1048578, pending 1048579. Grants are 8, fees 9.
    let overdraft = "new row for relation \"accounts\" violates check constraint \"no_overdraft\"";
    let not_positive =
        "new row for relation \"transfers\" violates check constraint \"transfers_amount_check\"";
    let attacks = [
        ("UPDATE transfers SET amount = 1 WHERE number = 1".to_owned(), "a transfer never changes"),
        ("UPDATE transfers SET memo = 'x'".to_owned(), "a transfer never changes"),
        ("DELETE FROM transfers WHERE number = 1".to_owned(), "a transfer is never deleted"),
        ("TRUNCATE transfers CASCADE".to_owned(), "a transfer is never deleted"),
        (
            "INSERT INTO transfers SELECT number + 99, id, kind, mode, pending_id, debit, credit, 1, job, memo, created_at FROM transfers WHERE number = 1".to_owned(),
            "duplicate key value violates unique constraint \"transfers_id_key\"",
        ),
        (
            insert(1, "grant", 0, 8, 1_048_577, "5"),
            "duplicate key value violates unique constraint \"transfers_pkey\"",
        ),
        (insert(90, "reserve", 0, 1_048_577, 1_048_578, "500000000001"), overdraft),
        (insert(90, "payout", 1, 1_048_577, 11, "500000000001"), overdraft),
        (insert(90, "grant", 0, 8, 1_048_577, "9223372036854775807"), "bigint out of range"),
        (insert(90, "grant", 0, 8, 1_048_577, "0"), not_positive),
        (insert(90, "grant", 0, 8, 1_048_577, "-5"), not_positive),
        (
            insert(90, "grant", 0, 8, 8, "5"),
            "new row for relation \"transfers\" violates check constraint \"transfers_check\"",
        ),
        (
            insert(90, "grant", 0, 8, 99, "5"),
            "insert or update on table \"transfers\" violates foreign key constraint \"transfers_credit_fkey\"",
        ),
        ("DELETE FROM accounts WHERE id = 1048577".to_owned(), "an account is never deleted"),
        ("UPDATE accounts SET kind = 8 WHERE id = 1048577".to_owned(), "an account never changes hands"),
        ("UPDATE accounts SET debits_posted = credits_posted + 1 WHERE id = 1048577".to_owned(), overdraft),
        (
            "INSERT INTO accounts (id, owner, kind, shard, credits_posted) VALUES (1048594, 1, 2, 1, 5)".to_owned(),
            "an account opens empty",
        ),
        ("UPDATE settlements SET charge = 1".to_owned(), "a settlement never changes"),
        ("DELETE FROM settlements".to_owned(), "a settlement is never deleted"),
        ("UPDATE seals SET through = 99".to_owned(), "a seal never changes"),
        ("DELETE FROM seals".to_owned(), "a seal is never deleted"),
        (
            "INSERT INTO seals SELECT 1000, 2000, hash FROM seals LIMIT 1; INSERT INTO seals SELECT 1500, 1600, hash FROM seals LIMIT 1".to_owned(),
            "a seal follows the one before",
        ),
        ("DELETE FROM owners".to_owned(), "an owner is never deleted"),
        ("UPDATE engine_cursor SET sequence = 4".to_owned(), "a cursor only moves forward"),
        ("UPDATE engine_cursor SET sequence = -1".to_owned(), "a cursor only moves forward"),
        ("DELETE FROM engine_cursor".to_owned(), "a cursor is never deleted"),
        ("TRUNCATE engine_cursor".to_owned(), "a cursor is never deleted"),
        ("UPDATE matured SET through = 0".to_owned(), "maturity only moves forward"),
        ("DELETE FROM matured".to_owned(), "what matured stays matured"),
        ("TRUNCATE matured".to_owned(), "what matured stays matured"),
        ("TRUNCATE seals".to_owned(), "a seal is never deleted"),
        ("UPDATE fenced_days SET day = 9".to_owned(), "a fence never changes"),
        ("DELETE FROM fenced_days".to_owned(), "a fence stays"),
        ("TRUNCATE fenced_days CASCADE".to_owned(), "a fence stays"),
        ("DELETE FROM closed_days".to_owned(), "a day that is closed stays closed"),
        ("TRUNCATE closed_days".to_owned(), "a day that is closed stays closed"),
        ("TRUNCATE api_keys CASCADE".to_owned(), "a key is never deleted"),
        (
            "INSERT INTO closed_days (day, settlements, root, closed_at) SELECT 5, 0, root, 0 FROM closed_days".to_owned(),
            "insert or update on table \"closed_days\" violates foreign key constraint \"closed_days_fenced\"",
        ),
    ];
    for (attack, expected) in attacks {
        assert_eq!(objection(&mut db, &attack).await, expected, "{attack}");
    }
    db.close().await.unwrap();
    books.assert_clean().await;
}

#[tokio::test]
async fn the_database_itself_refuses_a_second_resolution() {
    let books = postgres(Durability::Synced).await;
    books.fund().await;
    let mut db = books.database.as_ref().unwrap().direct().await;
    let held = r"'\x000000000000000000000000000000AA'";
    let hold = format!(
        "INSERT INTO transfers (number, id, kind, mode, debit, credit, amount, memo, created_at) VALUES (80, {held}, 'payout', 1, 1048577, 11, 5, '', 1)"
    );
    let resolve = |number: u32, mode: u8, debit: u64, amount: u64| {
        format!(
            "INSERT INTO transfers (number, id, kind, mode, pending_id, debit, credit, amount, memo, created_at) \
             VALUES ({number}, uuid_send(gen_random_uuid()), 'payout', {mode}, {held}, {debit}, 11, {amount}, '', 1)"
        )
    };
    assert_eq!(objection(&mut db, &hold).await, "accepted, 1 rows");
    for wrong in [resolve(81, 2, 1_048_577, 6), resolve(81, 2, 2_097_153, 5)] {
        assert_eq!(
            objection(&mut db, &wrong).await,
            "a transfer resolves a pending one of the same accounts and amount"
        );
    }
    assert_eq!(
        objection(&mut db, &resolve(81, 2, 1_048_577, 5)).await,
        "accepted, 1 rows"
    );
    for again in [resolve(82, 2, 1_048_577, 5), resolve(82, 3, 1_048_577, 5)] {
        assert_eq!(
            objection(&mut db, &again).await,
            "duplicate key value violates unique constraint \"transfers_resolve_once\""
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
async fn the_services_role_has_no_right_to_change_the_books() {
    let books = postgres(Durability::Synced).await;
    books.fund().await;
    books.take(settle(settlement(5, 1, 1, 2, 1_500))).await;
    let mut db = books.database.as_ref().unwrap().direct().await;
    // No function takes a session's own table for one of the books: such tables are looked for last.
    let astray = "SELECT count(*) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace \
                  AND proconfig IS NOT NULL AND NOT proconfig @> ARRAY['search_path=public, pg_temp']";
    let astray: i64 = sqlx::query_scalar(astray).fetch_one(&mut db).await.unwrap();
    assert_eq!(astray, 0);
    db.execute("SET ROLE atoll_billing").await.unwrap();
    let denied = [
        ("UPDATE transfers SET memo = 'x'", "transfers"),
        ("DELETE FROM transfers", "transfers"),
        ("TRUNCATE transfers CASCADE", "transfers"),
        ("ALTER TABLE transfers DISABLE TRIGGER ALL", ""),
        (
            "UPDATE accounts SET credits_posted = credits_posted + 5",
            "accounts",
        ),
        ("DELETE FROM accounts", "accounts"),
        ("UPDATE settlements SET charge = 1", "settlements"),
        ("DELETE FROM settlements", "settlements"),
        ("UPDATE seals SET through = 1", "seals"),
        ("DELETE FROM seals", "seals"),
        ("UPDATE closed_days SET settlements = 1", "closed_days"),
        ("DELETE FROM api_keys", "api_keys"),
        ("UPDATE api_keys SET owner = 2", "api_keys"),
        ("UPDATE engine_cursor SET shard = 2", "engine_cursor"),
        ("DROP TABLE transfers", ""),
    ];
    for (attack, table) in denied {
        let expected = if table.is_empty() {
            "must be owner of table transfers".to_owned()
        } else {
            format!("permission denied for table {table}")
        };
        assert_eq!(objection(&mut db, attack).await, expected, "{attack}");
    }
    // What it may: the shard of an account, which a trigger keeps as it is.
    assert_eq!(
        objection(&mut db, "UPDATE accounts SET shard = 3 WHERE id = 1048578").await,
        "an account never changes hands"
    );
    db.close().await.unwrap();
    books.assert_clean().await;
}

#[tokio::test]
async fn an_audit_finds_what_was_changed_behind_the_triggers() {
    for (tampering, found) in [
        (
            "UPDATE accounts SET credits_posted = credits_posted + 5 WHERE id = 1048577",
            "its transfers make",
        ),
        (
            "UPDATE transfers SET amount = amount - 1 WHERE number = 1",
            "are not those that were sealed",
        ),
        (
            "UPDATE transfers SET memo = 'x' WHERE number = 1",
            "are not those that were sealed",
        ),
        (
            "DELETE FROM transfers WHERE kind = 'fee'",
            "fee transfers come to 0",
        ),
        ("UPDATE settlements SET fee = 1", "the charge makes it"),
        (
            "UPDATE settlements SET model = 'x'",
            "are not the 1 that its root was made of",
        ),
        ("DELETE FROM seals", "is not sealed"),
        ("DELETE FROM matured", "off what was earned"),
        (
            "UPDATE fenced_days SET hash = decode(repeat('00', 32), 'hex')",
            "is not the one that was noted then",
        ),
        ("UPDATE fenced_days SET through = 99", "are not all there"),
        // Two legs that come to the same, in other hands.
        (
            "UPDATE transfers SET credit = 1048579 WHERE kind = 'charge'",
            "are not the legs that the settlements have",
        ),
    ] {
        let books = postgres(Durability::Synced).await;
        books.fund().await;
        books.take(settle(settlement(5, 1, 1, 2, 1_500))).await;
        let due = books
            .store
            .due(domain::Standing::Established, at(5), None, 1)
            .await
            .unwrap();
        books.take(billing::store::Change::Mature(due[0])).await;
        let day = books.store.first_open_day().await.unwrap().unwrap();
        books.store.close_day(day, day.end()).await.unwrap();
        books.assert_clean().await;
        let mut db = books.database.as_ref().unwrap().direct().await;
        db.execute("SET session_replication_role = replica")
            .await
            .unwrap();
        db.execute(AssertSqlSafe(tampering.to_owned())).await.unwrap();
        db.close().await.unwrap();
        let findings = books.store.audit().await.unwrap().findings;
        assert!(
            findings.iter().any(|finding| finding.contains(found)),
            "{tampering}: {findings:?}"
        );
    }
}

#[tokio::test]
async fn a_schema_that_is_not_this_versions_is_not_used() {
    let database = TestDatabase::make().await;
    let open = |schema| {
        let address = database.address();
        async move { PostgresStore::open(&address, schema, Durability::Synced).await }
    };
    // Nothing is there yet: not even the role.
    let empty = open(Schema::AsItIs).await.unwrap_err();
    assert!(matches!(empty, OpenError::Behind { .. }), "{empty:?}");
    assert!(empty.to_string().contains("billing migrate"), "{empty}");
    PostgresStore::migrate(&database.address()).await.unwrap();
    let store = open(Schema::AsItIs).await.unwrap();
    store
        .commit(&[open_owner("a"), grant(1, 1, 5)], at(1))
        .await
        .unwrap();
    store.close().await.unwrap();
    let mut db = database.direct().await;
    db.execute("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', true, '', 0)")
        .await
        .unwrap();
    db.close().await.unwrap();
    for schema in [Schema::AsItIs, Schema::Migrate] {
        let later = open(schema).await.unwrap_err();
        assert!(matches!(later, OpenError::Migrate { .. }), "{later:?}");
    }
}

#[tokio::test]
async fn the_service_can_log_in_as_a_mere_member_of_the_role() {
    let database = TestDatabase::make().await;
    PostgresStore::migrate(&database.address()).await.unwrap();
    let login = format!("member_{}", std::process::id());
    database
        .administer(&format!("CREATE ROLE {login} LOGIN IN ROLE atoll_billing"))
        .await
        .unwrap();
    let store = PostgresStore::open(&database.address_as(&login), Schema::AsItIs, Durability::Synced).await;
    let done = match &store {
        Ok(store) => Some(store.commit(&[open_owner("a"), grant(1, 1, 5)], at(1)).await),
        Err(_) => None,
    };
    let clean = match &store {
        Ok(store) => store.audit().await.map(|report| report.is_clean()).ok(),
        Err(_) => None,
    };
    if let Ok(store) = &store {
        store.close().await.unwrap();
    }
    // Roles outlive databases: gone before anything is asserted.
    database.administer(&format!("DROP ROLE {login}")).await.unwrap();
    let outcomes = done.unwrap_or_else(|| panic!("{store:?}")).unwrap();
    assert_eq!(outcomes[1], Outcome::Booked(ledger::Applied::Booked));
    assert_eq!(clean, Some(true));
}

#[tokio::test]
async fn a_login_that_may_not_become_the_services_role_is_told_how_it_may() {
    let database = TestDatabase::make().await;
    PostgresStore::migrate(&database.address()).await.unwrap();
    let login = format!("stranger_{}", std::process::id());
    let create = format!("CREATE ROLE {login} LOGIN");
    database.administer(&create).await.unwrap();
    let mut db = database.direct().await;
    let may_look =
        format!("GRANT SELECT ON _sqlx_migrations TO {login}; GRANT USAGE ON SCHEMA public TO {login}");
    let granted = db.execute(AssertSqlSafe(may_look)).await;
    let opened = PostgresStore::open(&database.address_as(&login), Schema::AsItIs, Durability::Synced).await;
    // Roles outlive databases: gone before anything is asserted.
    db.execute(AssertSqlSafe(format!("DROP OWNED BY {login}; DROP ROLE {login}")))
        .await
        .unwrap();
    granted.unwrap();
    let error = opened.unwrap_err();
    assert!(matches!(error, OpenError::Role { .. }), "{error:?}");
    assert!(error.to_string().contains("GRANT atoll_billing TO"), "{error}");
}

#[tokio::test]
async fn books_that_lost_every_seal_are_refused() {
    let books = postgres(Durability::Synced).await;
    books.fund().await;
    let database = books.database.as_ref().unwrap();
    let mut db = database.direct().await;
    db.execute("SET session_replication_role = replica; DELETE FROM seals")
        .await
        .unwrap();
    let error = PostgresStore::open(&database.address(), Schema::Migrate, Durability::Synced)
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Unusable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_day_is_read_beside_the_writer() {
    let books = postgres(Durability::Synced).await;
    books.fund().await;
    books.take(settle(settlement(5, 1, 1, 2, 1_500))).await;
    let day = books.store.first_open_day().await.unwrap().unwrap();
    let mut db = books.database.as_ref().unwrap().direct().await;
    // Whoever reads settlements waits now, for as long as we like.
    db.execute("BEGIN; LOCK TABLE settlements IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let store = Arc::clone(&books.store);
    let closing = tokio::spawn(async move { store.close_day(day, day.end()).await });
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'settlements'::regclass";
    loop {
        let waits: i64 = sqlx::query_scalar(waiting).fetch_one(&mut db).await.unwrap();
        if waits > 0 {
            break;
        }
    }
    let outcome = books.take(grant(90, 1, 5)).await;
    assert_eq!(outcome, Outcome::Booked(ledger::Applied::Booked));
    db.execute("ROLLBACK").await.unwrap();
    let closed = closing.await.unwrap().unwrap();
    assert_eq!((closed.day, closed.settlements), (day, 1));
    // What was booked after the fence is not in the chain that the day ended with.
    let head = closed.chain.unwrap();
    let report = books.store.audit().await.unwrap();
    assert!(head.through < report.transfers && report.chain_head != Some(head.hash));
    books.assert_clean().await;
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_an_error_that_says_which() {
    let address = "postgres://nobody:secret@127.0.0.1:9/books";
    let error = PostgresStore::open(address, Schema::Migrate, Durability::Synced)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not open the database `books` at 127.0.0.1:9"
    );
    let error = PostgresStore::open("postgres://[", Schema::Migrate, Durability::Synced)
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Address { .. }), "{error:?}");
}

#[tokio::test]
async fn a_connection_that_is_cut_is_made_again() {
    let books = postgres(Durability::Synced).await;
    books.take(open_owner("a")).await;
    let store = Arc::clone(&books.store);
    let mut db = books.database.as_ref().unwrap().direct().await;
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    db.execute(cut).await.unwrap();
    db.close().await.unwrap();
    // The first may meet the cut connection; repeating is safe.
    let first = store.commit(&[grant(1, 1, 5)], at(1)).await;
    assert!(
        matches!(first, Ok(_) | Err(StoreError::Unavailable { .. })),
        "{first:?}"
    );
    store.commit(&[grant(1, 1, 5)], at(1)).await.unwrap();
    let balances = store.balances(domain::AccountId::new(1)).await.unwrap().unwrap();
    assert_eq!(balances.available.as_nano(), 5);
    books.assert_clean().await;
}
