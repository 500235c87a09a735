//! The benchmark measures once and remembers.

use std::fs;
use std::time::Duration;

use island_agent::benchmark::{BenchmarkError, Measured, measure_once};
use runner::scripted::{Fault, Script, ScriptedRunner};

#[test]
fn a_speed_is_measured_once_and_survives_a_damaged_file() {
    let folder = tempfile::tempdir().unwrap();
    let runner = ScriptedRunner::new(Script {
        token_interval: Duration::from_millis(2),
        ..Script::default()
    });
    let Measured::Now(speed) = measure_once(&runner, folder.path()).unwrap() else {
        panic!("nothing was known before");
    };
    assert!((1..=500).contains(&speed.decode_per_second), "{speed:?}");
    assert_eq!(
        measure_once(&runner, folder.path()).unwrap(),
        Measured::Before(speed)
    );
    fs::write(folder.path().join("benchmarks.json"), "{").unwrap();
    assert!(matches!(
        measure_once(&runner, folder.path()).unwrap(),
        Measured::Now(_)
    ));
}

#[test]
fn a_runner_that_fails_has_no_speed() {
    let folder = tempfile::tempdir().unwrap();
    let runner = ScriptedRunner::new(Script {
        fault: Fault::FailAt(6),
        ..Script::default()
    });
    let failed = measure_once(&runner, folder.path());
    assert!(matches!(failed, Err(BenchmarkError::Unfinished { .. })));
}
