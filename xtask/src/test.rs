//! `cargo xtask test`: everything, on a machine with a Rust toolchain, python3 and perhaps apt.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{postgres, tools};

/// Which tests.
#[derive(Args, Debug, Default)]
pub(crate) struct Test {
    /// A long campaign instead of the normal tests, such as `matcher` or `journal-kills`; a wrong name lists them.
    #[arg(long, value_name = "NAME")]
    long: Option<String>,
    /// The campaign's first seed; go on where another stopped by giving the next one.
    #[arg(long, default_value_t = 1, requires = "long")]
    seed: u64,
    /// How many rounds the campaign runs; each campaign has its own default.
    #[arg(long, requires = "long")]
    count: Option<u64>,
}

/// A campaign: the package, the test's name, and how many rounds it runs unless told otherwise.
struct Campaign {
    name: &'static str,
    package: &'static str,
    test: &'static str,
    count: u64,
}

const CAMPAIGNS: &[Campaign] = &[
    Campaign {
        name: "failover",
        package: "atoll",
        test: "failover",
        count: 50,
    },
    Campaign {
        name: "matcher",
        package: "matcher",
        test: "the_engine_does_what_the_naive_book_does",
        // A hundred million commands.
        count: 1_080_000,
    },
    Campaign {
        name: "implied",
        package: "benches",
        test: "implied::the_plain_book_makes_the_trades_of_the_implied_workload",
        // Per cent of the workload.
        count: 100,
    },
    Campaign {
        name: "crash",
        package: "atoll",
        test: "crash",
        count: 100,
    },
    Campaign {
        name: "journal-kills",
        package: "exchange",
        test: "killed::a_process_that_is_killed_loses_nothing_it_acknowledged",
        count: 1_000,
    },
    Campaign {
        name: "journal-cuts",
        package: "exchange",
        test: "damage::no_cut_of_the_power_loses_what_was_acknowledged",
        count: 100_000,
    },
    Campaign {
        name: "journal-mutations",
        package: "exchange",
        test: "damage::mutated_segments_are_refused_or_read_as_they_were",
        count: 200_000,
    },
    Campaign {
        name: "billing-scripts",
        package: "billing",
        test: "scripts::stores_do_what_the_pure_ledger_does",
        // Two million operations.
        count: 100,
    },
    Campaign {
        name: "billing-kills",
        package: "billing",
        test: "crash::nothing_is_lost_or_booked_twice",
        count: 1_000,
    },
    Campaign {
        name: "billing-large",
        package: "billing",
        test: "large::",
        // Transfers, not rounds.
        count: 10_000_000,
    },
];

/// Installs, starts, runs.
pub(crate) fn run(test: &Test) -> Result<()> {
    let python = third_party_clients()?;
    let postgres = postgres::server()?;
    if let Some(name) = &test.long {
        return campaign(name, test, &python, &postgres);
    }
    let nextest = tools::works(tools::cargo().args(["nextest", "--version"]));
    let mut command = tools::cargo();
    if nextest {
        command.args(["nextest", "run", "--workspace", "--locked"]);
    } else {
        // Without nextest the tests that start whole exchanges share one process: one at a time keeps them apart.
        command.args(["test", "--workspace", "--locked", "--", "--test-threads=1"]);
    }
    command.env(postgres::ADDRESS, &postgres.address);
    tools::run(command.env("ATOLL_TEST_PYTHON", python))
}

fn campaign(name: &str, test: &Test, python: &Path, postgres: &postgres::Server) -> Result<()> {
    let Some(campaign) = CAMPAIGNS.iter().find(|campaign| campaign.name == name) else {
        let names: Vec<&str> = CAMPAIGNS.iter().map(|campaign| campaign.name).collect();
        bail!("no campaign is called `{name}`: there are {}", names.join(", "))
    };
    let count = test.count.unwrap_or(campaign.count);
    let mut command = tools::cargo();
    command
        .args([
            "test",
            "--locked",
            "--package",
            campaign.package,
            "--test",
            "it",
            "--",
            "--nocapture",
            campaign.test,
        ])
        .env("ATOLL_TEST_PYTHON", python)
        .env(postgres::ADDRESS, &postgres.address)
        .env("ATOLL_LONG_SEED", test.seed.to_string())
        .env("ATOLL_LONG_COUNT", count.to_string());
    tools::run(&mut command)
}

/// Installs the third-party clients into an ignored folder, once per list of them; returns their Python.
fn third_party_clients() -> Result<PathBuf> {
    let venv = tools::root().join(".venv");
    let requirements = tools::root().join("tests/python/requirements.txt");
    let python = venv.join("bin/python");
    let wanted = fs::read(&requirements).context("could not read tests/python/requirements.txt")?;
    let stamp = venv.join("installed.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted)
        && tools::works(Command::new(&python).arg("--version"))
    {
        return Ok(python);
    }
    eprintln!("installing the third-party clients that the tests drive");
    make_venv(&venv)?;
    let mut install = Command::new(&python);
    tools::run(
        install
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(&requirements),
    )?;
    fs::write(&stamp, wanted).context("could not write .venv/installed.txt")?;
    Ok(python)
}

fn make_venv(venv: &Path) -> Result<()> {
    let make = || tools::works(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv));
    if make() {
        return Ok(());
    }
    if !tools::works(Command::new("python3").arg("--version")) {
        tools::apt_install(&["python3", "python3-venv", "python3-pip"])?;
    } else {
        tools::apt_install(&["python3-venv", "python3-pip"])?;
    }
    if !make() {
        bail!("`python3 -m venv` does not work here; install Python 3 with venv and pip");
    }
    Ok(())
}
