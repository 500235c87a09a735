//! `atoll sign-up` against a running exchange: an account whose key the other commands find.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::Atoll;

fn atoll(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
    command.args(arguments).arg("--data").arg(folder);
    command.output().unwrap()
}

#[test]
fn whoever_signs_up_has_credits_and_a_key_that_the_other_commands_find() {
    let up = Atoll::start();
    let own = tempfile::tempdir().unwrap();
    let asked = ["sign-up", "--name", "ada", "--exchange", up.text("grpc")];
    let made = atoll(own.path(), &asked);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let said = String::from_utf8(made.stdout).unwrap();
    assert!(
        said.contains(" has 10 credits (virtual, no cash value)"),
        "{said}"
    );
    assert!(said.contains("atoll_sk_"), "{said}");
    // Nothing but the folder is needed.
    let balance = String::from_utf8(atoll(own.path(), &["balance"]).stdout).unwrap();
    assert!(balance.contains(" has 10 credits"), "{balance}");
    assert!(!balance.contains(up.text("account")), "{balance}");
    // An account that is there stays, be it one that signed up or that of `atoll up`.
    for folder in [own.path(), up.folder()] {
        let refused = atoll(folder, &asked);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && said.contains("has an account already"),
            "{said}"
        );
    }
    let other = tempfile::tempdir().unwrap();
    let hostile = atoll(
        other.path(),
        &["sign-up", "--name", "\u{1b}[2J", "--exchange", up.text("grpc")],
    );
    let said = String::from_utf8_lossy(&hostile.stderr).into_owned();
    assert!(
        said.contains("--name") && said.contains("INVALID_ARGUMENT"),
        "{said}"
    );
    assert!(
        std::fs::read_dir(other.path()).unwrap().next().is_none(),
        "nothing is kept of a refusal"
    );
    let (status, _) = up.stop();
    assert!(status.success(), "{status}");
}
