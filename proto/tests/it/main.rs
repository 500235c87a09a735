//! The committed code is what the `.proto` files compile to.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its files should stop there"
)]

mod fresh;
