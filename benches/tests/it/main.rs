//! The workloads, judged by books that share no code with the engine.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for the few events and commands that it is about"
)]

mod implied;
#[path = "../../../matcher/tests/it"]
mod matcher_tests {
    #[expect(dead_code, reason = "the matcher's tests ask it for more")]
    pub(crate) mod naive_book;
}
mod plain_book;

pub(crate) use matcher_tests::naive_book;
