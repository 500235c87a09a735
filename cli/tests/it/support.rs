//! An `atoll up` of the test's own, and HTTP to it.

mod apart;
mod http;
mod up;

pub(crate) use apart::{Apart, Exchange};
pub(crate) use http::{Stream, post, post_json};
pub(crate) use up::{Atoll, kill, third_party_python};

/// A number that a long campaign sets, or the normal tests' own.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}
