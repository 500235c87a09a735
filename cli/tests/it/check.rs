//! `atoll up --check`: what `cargo xtask up --check` becomes.

use std::process::{Command, Stdio};

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
