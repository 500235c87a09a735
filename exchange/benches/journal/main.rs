//! The journal beside its floors: `append` beside the same bytes written raw, `recovery` beside its goal. Each prints one
//! line of JSON; `cargo xtask measure` reads it.
#![expect(
    clippy::unwrap_used,
    clippy::integer_division,
    reason = "a measurement stops at whatever it did not expect, and rounds what it prints"
)]

mod append;
mod flow;
mod recovery;

use std::path::PathBuf;

/// What to measure: `append` or `recovery`, then perhaps a folder on the disk to measure.
fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let what = arguments.next().unwrap_or_default();
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::Builder::new()
        .prefix("atoll-journal-")
        .tempdir_in(parent)
        .unwrap();
    match what.as_str() {
        "append" => println!("{}", append::measure(folder.path())),
        "recovery" => println!("{}", recovery::measure(folder.path())),
        other => eprintln!("`{other}` is neither `append` nor `recovery`"),
    }
}
