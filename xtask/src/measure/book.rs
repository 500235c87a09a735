//! The engine's speed on the published order flows, beside a floor that checks nothing.
//!
//! Both are built for this machine and run in turns, so that both meet the same neighbours; the medians are compared.
//! A run whose trades differ from the published ones is no figure.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::measure::Figure;
use crate::tools;

/// How often the floor and the engine take turns.
const TURNS: usize = 5;

/// One of the flows of `benches/workload/README.md`.
pub(super) struct Flow {
    name: &'static str,
    pub(super) books: &'static str,
    /// Operations, books, preloaded, half range, seed.
    made_with: [&'static str; 5],
    pub(super) trade_hash: &'static str,
}

pub(super) const ONE: Flow = Flow {
    name: "one",
    books: "1",
    made_with: ["1000000", "1", "10000", "50", "42"],
    trade_hash: "f1ad3a02d6c2dd53",
};

pub(super) const HUNDRED: Flow = Flow {
    name: "hundred",
    books: "100",
    made_with: ["1000000", "100", "100000", "50", "43"],
    trade_hash: "dc6e9c723d85d318",
};

pub(super) const DEEP: Flow = Flow {
    name: "deep",
    books: "1",
    made_with: ["1000000", "1", "1000000", "10000", "44"],
    trade_hash: "3e3b235598327104",
};

pub(super) fn one() -> Result<Figure> {
    measure(&ONE)
}

pub(super) fn hundred() -> Result<Figure> {
    measure(&HUNDRED)
}

pub(super) fn deep() -> Result<Figure> {
    measure(&DEEP)
}

/// What it costs that an order's account and Island are in no cache: the same flow over a million of either, beside a
/// thousand, in turns.
pub(super) fn cold_accounts() -> Result<Figure> {
    let (_, replay) = build()?;
    let file = file_of(&ONE)?;
    let (mut few, mut many) = (Vec::new(), Vec::new());
    let mut last = Value::Null;
    for _ in 0..TURNS {
        for (accounts, figures) in [("1000", &mut few), ("1000000", &mut many)] {
            last = replay_once(&replay, &file, &ONE, &["--accounts", accounts, "--runs", "1"])?;
            figures.push(ns_per_operation(&last)?);
        }
    }
    Ok(Figure {
        ours: median(&mut many),
        reference: median(&mut few),
        unit: "ns an operation",
        detail: json!({ "book_replay": last }),
    })
}

fn measure(flow: &Flow) -> Result<Figure> {
    let (floor, replay) = build()?;
    let file = file_of(flow)?;
    let (mut floors, mut ours) = (Vec::new(), Vec::new());
    let (mut last, mut percentiles) = (Value::Null, String::new());
    for _ in 0..TURNS {
        let run_floor = |mode: &str| {
            tools::output(
                std::process::Command::new(&floor)
                    .arg(&file)
                    .args([mode, flow.books]),
            )
        };
        floors.push(number_after(&run_floor("t")?, "ns/op=")?);
        percentiles = run_floor("l")?;
        last = replay_once(&replay, &file, flow, &["--runs", "3"])?;
        ours.push(ns_per_operation(&last)?);
    }
    Ok(Figure {
        ours: median(&mut ours),
        reference: median(&mut floors),
        unit: "ns an operation",
        detail: json!({
            "book_replay": last,
            "floor_p99_ns": number_after(&percentiles, "all p50=").and_then(|_| number_after(&percentiles, "p99="))?,
            "floor_p99_9_ns": number_after(&percentiles, "p99.9=")?,
        }),
    })
}

/// What `book-replay` prints of a flow, if its trades are the published ones.
fn replay_once(replay: &Path, file: &Path, flow: &Flow, more: &[&str]) -> Result<Value> {
    let mut command = std::process::Command::new(replay);
    let printed = tools::output(command.arg(file).args(["--books", flow.books]).args(more))?;
    let replayed: Value = serde_json::from_str(&printed).context("book-replay printed no JSON")?;
    ensure!(
        replayed["trade_hash"] == flow.trade_hash,
        "the trades of `{}` are not the published ones: {printed}",
        flow.name
    );
    Ok(replayed)
}

fn ns_per_operation(replayed: &Value) -> Result<f64> {
    let ns = replayed["ns_per_operation"].as_f64();
    ns.context("book-replay printed no time")
}

/// The floor and the replay, built with the same flags into a folder of their own.
fn build() -> Result<(PathBuf, PathBuf)> {
    let folder = tools::target().join("native");
    for manifest in ["benches/workload/floor/Cargo.toml", "benches/Cargo.toml"] {
        tools::run(
            tools::cargo()
                .env("RUSTFLAGS", "-C target-cpu=native")
                .args([
                    "build",
                    "--quiet",
                    "--release",
                    "--bins",
                    "--manifest-path",
                    manifest,
                ])
                .arg("--target-dir")
                .arg(&folder),
        )?;
    }
    let release = folder.join("release");
    Ok((release.join("floor"), release.join("book-replay")))
}

/// The flow's file, made once.
pub(super) fn file_of(flow: &Flow) -> Result<PathBuf> {
    let folder = tools::target().join("flows");
    let file = folder.join(format!("{}.csv", flow.name));
    if !file.exists() {
        fs::create_dir_all(&folder).context("could not make the folder of the flows")?;
        let unfinished = file.with_extension("part");
        let script = tools::root().join("benches/workload/orderflow.py");
        let mut generator = std::process::Command::new("python3");
        // What it prints of the flow is not the row.
        tools::output(generator.arg(script).arg(&unfinished).args(flow.made_with))?;
        fs::rename(&unfinished, &file).context("could not keep the flow")?;
    }
    Ok(file)
}

/// The number that follows the first `name` in a line.
fn number_after(line: &str, name: &str) -> Result<f64> {
    let (_, rest) = line
        .split_once(name)
        .with_context(|| format!("no `{name}` in: {line}"))?;
    let end = rest
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(rest.len());
    rest[..end]
        .parse()
        .with_context(|| format!("no number after `{name}` in: {line}"))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len().div_euclid(2)]
}
