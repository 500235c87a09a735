//! Replays what is in `corpus/`: inputs that reach far, and those in which a fuzzer once found something.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

/// Runs a target on each file of its corpus, and on each cut of it, so that few files reach much.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // Shown with a failure, as a panic does not say which input it met.
        println!("{}", path.display());
        let input = fs::read(path).unwrap();
        run(&input);
        for cut in (0..input.len()).step_by(input.len().div_ceil(16).max(1)) {
            run(&input[..cut]);
        }
        count += 1;
    }
    assert!(count > 0, "the corpus of {target} is empty");
}

#[test]
fn commands() {
    replay("commands", fuzz::commands);
}

#[cfg(feature = "journal")]
#[test]
fn journal_records() {
    replay("journal_records", fuzz::journal_records);
}

#[test]
fn order_flow() {
    replay("order_flow", |text| {
        fuzz::order_flow(text);
    });
}

/// A layout that changes would leave only texts that are refused.
#[test]
fn the_order_flows_are_read_and_played_to_their_end() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/order_flow");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let played = fuzz::order_flow(&fs::read(&path).unwrap());
        assert_eq!(played, fuzz::Played::ToItsEnd, "{}", path.display());
    }
}

#[test]
fn snapshots() {
    replay("snapshots", fuzz::snapshots);
}

/// A layout that changes would leave only inputs that nothing is read of.
#[test]
fn the_snapshots_are_those_to_which_the_commands_lead() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in fs::read_dir(corpus.join("commands")).unwrap() {
        let script = entry.unwrap();
        let snapshot = fuzz::snapshot_after(&fs::read(script.path()).unwrap());
        let path = corpus.join("snapshots").join(script.file_name());
        if std::env::var_os("ATOLL_CORPUS").is_some_and(|value| value == "write") {
            fs::write(&path, fuzz::body(&snapshot)).unwrap();
        }
        assert!(
            fs::read(&path).unwrap() == fuzz::body(&snapshot),
            "{} is of another layout: make it anew with ATOLL_CORPUS=write",
            path.display()
        );
    }
}
