//! Orders by hand: an ask that is shown as it goes, one that is left, and what lists, lowers and cancels them.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Atoll, kill};

/// A command that goes on, whose lines a test reads.
struct Going {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Going {
    fn start(atoll: &Atoll, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
        command.args(arguments).arg("--data").arg(atoll.folder());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

fn lines(atoll: &Atoll, arguments: &[&str]) -> Vec<Value> {
    let output = atoll.client(arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8(output.stderr).unwrap()
    );
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn refusal(atoll: &Atoll, arguments: &[&str]) -> String {
    let output = atoll.client(arguments);
    assert!(!output.status.success(), "{arguments:?} was not refused");
    String::from_utf8(output.stderr).unwrap()
}

/// The ids of the owner's asks at a price, in nano-credits.
fn asks_at(atoll: &Atoll, price_nano: u64) -> Vec<String> {
    lines(atoll, &["orders", "--owner", "--side", "ask", "--json"])
        .iter()
        .filter(|order| order["price_nano"] == price_nano)
        .map(|order| order["order_id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn asks_are_placed_listed_lowered_and_cancelled_by_hand() {
    let atoll = Atoll::start();
    let (model, island) = (
        atoll.model().to_owned(),
        atoll.report()["islands"][0]["id"].clone(),
    );
    let island = island.as_str().unwrap();
    let ask = [
        "ask", &model, "--island", island, "--price", "7", "--jobs", "3", "--json",
    ];

    // One that is left on the book.
    let placed = lines(&atoll, &[ask.as_slice(), &["--detach"]].concat());
    assert_eq!(
        (&placed[0]["report"], &placed[0]["left"]),
        (&"new".into(), &3.into())
    );
    let order = placed[0]["order_id"].as_str().unwrap();
    assert_eq!(asks_at(&atoll, 7_000_000_000), [order]);
    let consumer = lines(&atoll, &["orders", "--json"]);
    assert!(
        consumer.is_empty(),
        "the owner's orders are not the consumer's: {consumer:?}"
    );
    let told = refusal(&atoll, &["amend", order, "--leaves", "1"]);
    assert!(told.contains("[UNKNOWN_ORDER]"), "{told}");
    let amended = lines(&atoll, &["amend", order, "--leaves", "1", "--owner", "--json"]);
    assert_eq!(amended[0]["left"], 1);
    let told = refusal(&atoll, &["amend", order, "--leaves", "1", "--owner"]);
    assert!(told.contains("[NOT_LESS]"), "{told}");
    let told = refusal(&atoll, &["cancel", "ord_1", order, "--owner", "--json"]);
    assert!(
        told.contains("ord_1: ") && told.contains("1 of 2 orders were not cancelled"),
        "{told}"
    );
    assert!(
        asks_at(&atoll, 7_000_000_000).is_empty(),
        "the other was cancelled"
    );

    // One that is shown until Ctrl-C.
    let mut going = Going::start(&atoll, &ask);
    let first = going.line();
    assert_eq!((&first["report"], &first["left"]), (&"new".into(), &3.into()));
    assert_eq!(asks_at(&atoll, 7_000_000_000).len(), 1);
    kill(u64::from(going.child.id()), Signal::INT);
    let last = going.line();
    assert_eq!(
        (&last["report"], &last["code"]),
        (&"canceled".into(), &"CANCELLED".into())
    );
    assert!(going.child.wait().unwrap().success());
    assert!(asks_at(&atoll, 7_000_000_000).is_empty());

    let told = refusal(&atoll, &["ask", &model, "--island", "isl_1", "--price", "7"]);
    assert!(
        told.contains("--island: ") && told.contains("[UNKNOWN_ISLAND]"),
        "{told}"
    );

    // A bid that expires in a halt is told of the halt.
    let halted = atoll.client(&["operator", "halt", &model]);
    assert!(halted.status.success());
    let told = refusal(&atoll, &["bid", &model, "Hi", "--max-wait-ms", "50"]);
    assert!(told.contains("trading in this model is halted"), "{told}");
    let told = refusal(&atoll, &["bid", &model, ""]);
    assert!(
        told.contains("the prompt is empty") && !told.contains("the prompt: the prompt"),
        "{told}"
    );
}
