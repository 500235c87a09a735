//! `atoll journal` on a journal that a sequencer is writing, and on one that is damaged.

use std::fs;
use std::path::Path;
use std::process::{Command as Process, Output};

use domain::{AccountId, Credits, TransferId};
use exchange::sequencer::{Sequencer, SequencerConfig, Started, Upkeep};
use matcher::{Command, Engine, Fund};
use serde_json::Value;

fn journal(folder: &Path, arguments: &[&str]) -> Output {
    Process::new(env!("CARGO_BIN_EXE_atoll"))
        .arg("journal")
        .args(arguments)
        .arg(folder)
        .output()
        .unwrap()
}

fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = journal(folder, arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn line(folder: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(folder, arguments)).unwrap()
}

/// An exchange's data folder whose sequencer has journaled so many funds, and goes on.
async fn running(data: &Path, commands: u64) -> Started {
    let mut config = SequencerConfig::new(data.join("journal"));
    config.upkeep = Upkeep {
        commands_per_snapshot: 40,
        ..Upkeep::default()
    };
    let started = Sequencer::start(&config, Vec::new()).unwrap();
    for number in 1..=commands {
        let fund = Fund {
            transfer: TransferId::new(u128::from(number)),
            account: AccountId::new(number % 7),
            amount: Credits::from_nano(5),
        };
        started.handle.apply(Command::Fund(fund)).await.unwrap();
    }
    started
}

#[tokio::test]
async fn a_journal_in_use_is_listed_checked_and_replayed_to_any_moment() {
    let data = tempfile::tempdir().unwrap();
    let started = running(data.path(), 100).await;
    let overview = line(data.path(), &["inspect", "--json"]);
    assert_eq!(overview["segments"][0]["first"], 1);
    assert!(
        !overview["snapshots"].as_array().unwrap().is_empty(),
        "{overview}"
    );

    let commands = printed(data.path(), &["inspect", "--from", "98", "--json"]);
    let commands: Vec<Value> = commands
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(commands.len(), 3);
    assert_eq!(commands[0]["sequence"], 98);
    assert_eq!(commands[0]["kind"], "Fund");
    assert_eq!(commands[0]["command"]["Fund"]["account"], 98 % 7);
    assert_eq!(
        printed(data.path(), &["inspect", "--kind", "fund", "--count", "5"])
            .lines()
            .count(),
        5
    );
    assert_eq!(printed(data.path(), &["inspect", "--kind", "PlaceBid"]), "");

    let verified = line(data.path(), &["verify", "--replay", "--json"]);
    assert_eq!(
        (&verified["whole"], &verified["records"]),
        (&true.into(), &100.into())
    );

    let hash = started.handle.read(Engine::state_hash).await.unwrap().to_string();
    assert_eq!(line(data.path(), &["replay", "--json"])["state_hash"], *hash);
    let middle = line(data.path(), &["replay", "--until", "50", "--json"]);
    assert_eq!(middle["sequence"], 50);
    assert_ne!(middle["state_hash"], *hash);
    let at = commands[1]["at"].as_str().unwrap();
    let then = line(data.path(), &["replay", "--until", at, "--json"]);
    assert!(then["sequence"].as_u64().unwrap() >= 99, "{then}");
    assert_eq!(
        line(
            data.path(),
            &["replay", "--until", "1970-01-01T00:00:01Z", "--json"]
        )["sequence"],
        0
    );
    let beyond = journal(data.path(), &["replay", "--until", "101"]);
    assert!(
        String::from_utf8(beyond.stderr)
            .unwrap()
            .contains("the journal ends at record 100")
    );
    started.sequencer.stop().await.unwrap();
}

#[tokio::test]
async fn a_damaged_record_is_named_and_nothing_is_written() {
    let data = tempfile::tempdir().unwrap();
    running(data.path(), 100).await.sequencer.stop().await.unwrap();
    let segment = data.path().join("journal").join(format!("{:020}.segment", 1));
    let mut bytes = fs::read(&segment).unwrap();
    bytes[3_000] ^= 4;
    fs::write(&segment, &bytes).unwrap();
    let output = journal(data.path(), &["verify"]);
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("is damaged, at byte"), "{text}");
    assert!(text.contains("restore the folder from a copy"), "{text}");
    assert_eq!(fs::read(&segment).unwrap(), bytes);
}

#[test]
fn a_folder_without_a_journal_says_where_one_was_looked_for() {
    let data = tempfile::tempdir().unwrap();
    let text = String::from_utf8(journal(data.path(), &["inspect"]).stderr).unwrap();
    assert!(text.contains("there is no journal in"), "{text}");
    assert!(text.contains("exchange/journal"), "{text}");
}
