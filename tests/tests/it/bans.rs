//! No dependency that `deny.toml` bans has come in, by whatever way.

use std::fs;
use std::path::Path;

#[test]
fn the_lock_file_has_no_banned_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let deny = fs::read_to_string(root.join("deny.toml")).unwrap();
    let lock = fs::read_to_string(root.join("Cargo.lock")).unwrap();
    let named = |line: &str| line.split('"').nth(1).map(str::to_owned);
    let lines = deny.lines().filter(|line| line.contains("{ crate ="));
    let banned: Vec<String> = lines.filter_map(named).collect();
    assert!(
        banned.len() >= 4,
        "deny.toml bans the other TLS stacks: {banned:?}"
    );
    for name in banned {
        assert!(
            !lock.contains(&format!("name = \"{name}\"")),
            "`{name}` is banned, and Cargo.lock has it"
        );
    }
}
