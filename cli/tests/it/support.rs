//! An `atoll up` of the test's own, and HTTP to it.

mod http;
mod up;

pub(crate) use http::{Stream, post, post_json};
pub(crate) use up::{Atoll, third_party_python};
