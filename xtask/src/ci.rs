//! `cargo xtask ci`: what CI runs, in the order of what fails soonest.

use anyhow::{Context, Result};

use crate::{test, tools};

/// Formatting, lints, every test; the first that fails ends it.
pub(crate) fn run() -> Result<()> {
    tools::run(tools::cargo().args(["fmt", "--all", "--check"]))
        .context("the formatting differs: `cargo fmt --all` mends it")?;
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        "benches/services",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    tools::run(tools::cargo().args(lints)).context("the lints found something")?;
    test::run(&test::Test::default())
}
