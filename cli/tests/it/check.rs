//! `atoll up --check`: what `cargo xtask up --check` becomes.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{Atoll, kill};

#[test]
fn a_check_runs_a_first_job_and_ends_well() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
    command
        .args(["up", "--first-job", "--check"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = command.output().unwrap();
    let story = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{story}");
    for part in [
        "The book before",
        "What is the capital of France?",
        "won by isl_",
        "Paris",
        "Why that Island",
        "charge = price × units",
        "both signatures and the chain of tokens verified",
        "add up to what they were",
    ] {
        assert!(story.contains(part), "no `{part}` in:\n{story}");
    }
}

#[test]
fn a_check_that_is_stopped_did_not_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Atoll::command(folder.path());
    let mut child = command.arg("--check").stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let began = log.by_ref().any(|line| line.unwrap().contains("billing answers"));
    assert!(began, "billing never answered");
    kill(u64::from(child.id()), Signal::TERM);
    let rest: Vec<String> = log.map(Result::unwrap).collect();
    assert!(!child.wait().unwrap().success());
    assert!(
        rest.iter().any(|line| line.contains("nothing is known")),
        "{rest:?}"
    );
}
