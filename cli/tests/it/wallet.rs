//! `atoll wallet` against everything real: what it shows adds up, and a key does what its scope says.

use std::process::Output;

use serde_json::Value;

use crate::support::Atoll;

fn ok(output: Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8(output.stderr).unwrap()
    );
    String::from_utf8(output.stdout).unwrap()
}

fn refused(output: Output) -> String {
    assert!(
        !output.status.success(),
        "{}",
        String::from_utf8(output.stdout).unwrap()
    );
    String::from_utf8(output.stderr).unwrap()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Everything an account has: the whole that `atoll wallet balance` begins with.
fn worth(atoll: &Atoll, account: &[&str]) -> String {
    let text = ok(atoll.client(&[&["wallet", "balance"], account].concat()));
    text.split_whitespace().nth(2).unwrap().to_owned()
}

#[test]
fn a_wallet_tells_what_became_of_every_credit() {
    let atoll = Atoll::start();
    let model = atoll.model().to_owned();
    ok(atoll.client(&[
        "bid",
        &model,
        "What is the capital of France?",
        "--max-tokens",
        "8",
    ]));

    // The job is settled a moment after its answer.
    let charges = || {
        let filter = "kind = \"charge\"";
        json_lines(&ok(
            atoll.client(&["wallet", "history", "--filter", filter, "--json"])
        ))
    };
    while charges().is_empty() {
        std::thread::yield_now();
    }
    let charge = charges().swap_remove(0);
    assert!(charge["net_nano"].as_i64().unwrap() < 0, "{charge}");
    assert!(charge["job_id"].as_str().unwrap().starts_with("job_"), "{charge}");

    for account in [&[][..], &["--owner"]] {
        let statement = ok(atoll.client(&[&["wallet", "statement", "--format", "json"], account].concat()));
        let statement: Value = serde_json::from_str(&statement).unwrap();
        let lines = statement["lines"].as_array().unwrap();
        let sum: i64 = lines.iter().map(|line| line["net_nano"].as_i64().unwrap()).sum();
        assert_eq!(statement["closing_nano"], sum, "{statement}");
        let closing = domain::Credits::from_nano(sum).to_string();
        assert_eq!(closing, worth(&atoll, account));
        let csv = ok(atoll.client(&[&["wallet", "statement", "--format", "csv"], account].concat()));
        assert_eq!(csv.lines().count(), lines.len() + 3, "{csv}");
        assert!(csv.contains("virtual"), "{csv}");
    }

    for (account, side) in [(&[][..], "bought"), (&["--owner"], "sold")] {
        let usage = json_lines(&ok(
            atoll.client(&[&["wallet", "usage", "--json"], account].concat())
        ));
        let sum = usage.iter().find(|sum| sum["side"] == side).unwrap();
        assert_eq!(
            (&sum["model"], &sum["jobs"]),
            (&model.as_str().into(), &1.into()),
            "{sum}"
        );
        assert_eq!(sum["charge_nano"], charge["amount_nano"], "{sum}");
    }

    // Page by page is all of it.
    let all = json_lines(&ok(atoll.client(&["wallet", "history", "--all", "--json"])));
    let paged = json_lines(&ok(
        atoll.client(&["wallet", "history", "--all", "--limit", "1", "--json"])
    ));
    assert_eq!(all, paged);
    let first = atoll.client(&["wallet", "history", "--limit", "1"]);
    assert!(String::from_utf8(first.stderr).unwrap().contains("--page "));

    let audit: Value = serde_json::from_str(&ok(atoll.client(&["wallet", "audit", "--json"]))).unwrap();
    assert_eq!(
        (&audit["clean"], &audit["sum_nano"]),
        (&true.into(), &0.into()),
        "{audit}"
    );
    assert!(audit["settlements"].as_u64().unwrap() >= 1, "{audit}");
}

#[test]
fn keys_are_made_rotated_and_end_and_do_no_more_than_they_may() {
    let atoll = Atoll::start();
    let secret = ok(atoll.client(&[
        "wallet", "keys", "create", "laptop", "--scope", "consumer", "--days", "1",
    ]));
    let secret = secret.trim();
    assert!(secret.starts_with("atoll_sk_"));
    let keys = || json_lines(&ok(atoll.client(&["wallet", "keys", "list", "--json"])));
    let made = keys().into_iter().find(|key| key["name"] == "laptop").unwrap();
    assert_eq!(made["scope"], "consumer");
    assert!(made["expires"].is_string(), "{made}");
    let key = made["key_id"].as_str().unwrap();

    // It may look, and takes nothing out.
    let with = |arguments: &[&str]| atoll.client(&[arguments, &["--api-key", secret]].concat());
    assert!(ok(with(&["wallet", "balance"])).contains("virtual"));
    for arguments in [
        &["wallet", "payout", "request", "10", "virtual:me"][..],
        &["wallet", "payout", "weekly", "virtual:me"],
        &["wallet", "keys", "create", "another"],
        &["wallet", "keys", "revoke", key],
        &["wallet", "keys", "rotate", key],
    ] {
        let story = refused(with(arguments));
        assert!(story.contains("WRONG_KEY_SCOPE"), "{arguments:?}: {story}");
    }
    assert!(refused(with(&["wallet", "audit"])).contains("OPERATOR_ONLY"));

    // Another account's keys are not there for it.
    for command in ["rotate", "revoke"] {
        let story = refused(atoll.client(&["wallet", "keys", command, key, "--owner"]));
        assert!(story.contains("UNKNOWN_KEY"), "{story}");
    }

    // What it may spend is bounded at once.
    let limited = ok(atoll.client(&["wallet", "keys", "limit", key, "--per-day", "0.000000001"]));
    assert!(
        limited.contains("0.000000001 credits a day, any for each end user"),
        "{limited}"
    );
    let story = refused(with(&["bid", atoll.model(), "Hi"]));
    assert!(story.contains("KEY_SPENDING_LIMIT"), "{story}");
    let limited = ok(atoll.client(&["wallet", "keys", "limit", key, "--per-user-per-day", "2"]));
    assert!(
        limited.contains("0.000000001 credits a day, 2 for each end user"),
        "{limited}"
    );
    for nothing in [&["--per-day", "0"][..], &["--per-day", "-1"], &[]] {
        let story = refused(atoll.client(&[&["wallet", "keys", "limit", key], nothing].concat()));
        assert!(story.contains("--none"), "{story}");
    }
    let story = refused(atoll.client(&["wallet", "keys", "limit", key, "--per-day", "1", "--owner"]));
    assert!(story.contains("UNKNOWN_KEY"), "{story}");

    // What it did not earn is not paid out.
    let story = refused(atoll.client(&["wallet", "payout", "request", "10", "virtual:me"]));
    assert!(
        story.contains("NOT_EARNED") && story.contains("--request-id"),
        "{story}"
    );
    assert_eq!(ok(atoll.client(&["wallet", "payout", "list", "--json"])), "");
    assert!(
        ok(atoll.client(&["wallet", "payout", "weekly", "virtual:me", "--owner"])).contains("virtual:me")
    );

    let successor = ok(atoll.client(&["wallet", "keys", "rotate", key, "--grace-hours", "0"]));
    let story = refused(with(&["wallet", "balance"]));
    assert!(story.contains("EXPIRED_API_KEY"), "{story}");
    let with = |arguments: &[&str]| atoll.client(&[arguments, &["--api-key", successor.trim()]].concat());
    ok(with(&["wallet", "history"]));
    let rotated = keys().into_iter().find(|other| other["key_id"] == key).unwrap();
    ok(atoll.client(&["wallet", "keys", "revoke", rotated["successor"].as_str().unwrap()]));
    let story = refused(with(&["wallet", "history"]));
    assert!(story.contains("REVOKED_API_KEY"), "{story}");
}
