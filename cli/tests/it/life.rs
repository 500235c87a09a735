//! Start, stop, start again.

use std::process::Stdio;

use serde_json::json;

use crate::support::{Atoll, post_json};

#[test]
fn a_second_up_goes_on_where_the_first_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let first = Atoll::start_on(folder.path());
    let (account, key) = (first.text("account").to_owned(), first.text("api_key").to_owned());
    let islands: Vec<_> = first.report()["islands"]
        .as_array()
        .unwrap()
        .iter()
        .map(|island| island["id"].clone())
        .collect();
    assert_eq!(islands.len(), 3);
    let body =
        json!({ "model": first.model(), "max_tokens": 4, "messages": [{ "role": "user", "content": "Hi" }] });
    let (status, answer) = post_json(&first, &body);
    assert_eq!(status, 200, "{answer}");

    // A second one on the same folder says what is wrong, and does the first no harm.
    let second = Atoll::command(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another `atoll up` runs on"));

    let (status, rest) = first.stop();
    assert!(status.success(), "{status}");
    assert_eq!(
        rest, "",
        "standard output carries one line of JSON and nothing else"
    );

    let again = Atoll::start_on(folder.path());
    assert_eq!(
        (again.text("account"), again.text("api_key")),
        (account.as_str(), key.as_str())
    );
    let same: Vec<_> = again.report()["islands"]
        .as_array()
        .unwrap()
        .iter()
        .map(|island| island["id"].clone())
        .collect();
    assert_eq!(same, islands);
    let balance = String::from_utf8(again.client(&["balance"]).stdout).unwrap();
    assert!(
        balance.contains(" credits (virtual, no cash value)") && !balance.contains(" has 1000 credits"),
        "the charge of the first run is remembered: {balance}"
    );
    let (status, _) = again.stop();
    assert!(status.success(), "{status}");
}
