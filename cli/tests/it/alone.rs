//! What the program does without an exchange: help, refusals, an Island that tells its state.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn atoll(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
    command.args(arguments).output().unwrap()
}

fn refusal(arguments: &[&str]) -> String {
    let output = atoll(arguments);
    assert!(!output.status.success(), "{arguments:?} was not refused");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_number_that_makes_no_bid_is_refused_with_what_would_make_one() {
    let bid = |flag, value| refusal(&["bid", "a-model", "Hi", flag, value]);
    for limit in ["-1", "0", "cheap"] {
        let told = bid("--limit", limit);
        assert!(
            told.contains("credits per 1,000 work units, 0.000001 to"),
            "{told}"
        );
    }
    for (flag, value) in [
        ("--max-tokens", "0"),
        ("--max-tokens", "-1"),
        ("--max-rtt-ms", "0"),
        ("--max-wait-ms", "-5"),
        ("--min-karma", "101"),
    ] {
        let told = bid(flag, value);
        assert!(
            told.contains(&format!("invalid value '{value}' for '{flag}")),
            "{told}"
        );
    }
}

#[test]
fn the_help_names_the_program_that_was_called_and_its_own_options() {
    let help = |arguments: &[&str]| String::from_utf8(atoll(arguments).stdout).unwrap();
    let island = help(&["island", "run", "--help"]);
    assert!(
        island.contains("atoll island run --exchange") && island.contains("atoll island earnings"),
        "{island}"
    );
    assert!(!island.contains("island-agent"), "{island}");
    let up = help(&["up", "--help"]);
    assert!(
        up.contains("--data <DIR>") && !up.contains("--api-key") && !up.contains("--exchange"),
        "{up}"
    );
}

#[test]
fn an_island_tells_each_change_of_its_state_and_needs_no_exchange_for_it() {
    let data = tempfile::tempdir().unwrap();
    let mut island = Command::new(env!("CARGO_BIN_EXE_atoll"))
        .args(["island", "run", "--json", "--runner", "scripted", "--model", "m"])
        .args([
            "--price",
            "0.02",
            "--region",
            "eu-west",
            "--api-key",
            "atoll_sk_x",
        ])
        .args(["--exchange", "http://127.0.0.1:1", "--data"])
        .arg(data.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(island.stdout.take().unwrap()).lines();
    let mut phases = lines.map(|line| {
        let state: Value = serde_json::from_str(&line.unwrap()).unwrap();
        state["phase"].as_str().unwrap().to_owned()
    });
    let seen = phases.find(|phase| phase == "backing_off");
    island.kill().unwrap();
    island.wait().unwrap();
    assert_eq!(seen.as_deref(), Some("backing_off"));
    let earned = atoll(&["island", "earnings", "--data", data.path().to_str().unwrap()]);
    assert!(
        String::from_utf8(earned.stdout)
            .unwrap()
            .starts_with("nothing yet\n")
    );
}
