//! `cargo xtask up`: the one command of the README.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;

use crate::tools;

/// What to do once it runs.
#[derive(Args, Debug)]
pub(crate) struct Up {
    /// Exit after the first job: 0 if all of it went as it should.
    #[arg(long)]
    check: bool,
    /// Passed on to `atoll up`; `atoll up --help` explains them.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Builds for this machine and becomes `atoll up`.
pub(crate) fn run(up: &Up) -> Result<()> {
    check_prerequisites()?;
    let binary = build()?;
    let mut command = Command::new(binary);
    command.args(["up", "--first-job"]);
    if up.check {
        command.arg("--check");
    }
    // Becoming it, rather than waiting for it, leaves Ctrl-C and the exit status to it alone.
    let error = command.args(&up.rest).exec();
    bail!("could not start `atoll up`: {error}")
}

/// Builds `atoll` with the profile `up`, for this machine's processor.
fn build() -> Result<PathBuf> {
    eprintln!("building Atoll for this machine (a first build takes a few minutes)");
    let mut flags = env::var("RUSTFLAGS").unwrap_or_default();
    flags.push_str(" -C target-cpu=native");
    let mut command = tools::cargo();
    tools::run(command.env("RUSTFLAGS", flags.trim()).args([
        "build",
        "--locked",
        "--profile",
        "up",
        "--bin",
        "atoll",
    ]))?;
    Ok(tools::target().join("up").join("atoll"))
}

fn check_prerequisites() -> Result<()> {
    let compiler = ["cc", "gcc", "clang"]
        .into_iter()
        .any(|name| tools::works(Command::new(name).arg("--version")));
    if !compiler {
        bail!(
            "SQLite is built from C, and no C compiler was found: install gcc or clang (Debian: apt-get install gcc)"
        );
    }
    Ok(())
}
