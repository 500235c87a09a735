//! The gRPC door, called as clients call it.

mod calls;
mod discovery;
mod explain;
mod jobs;
mod restart;

pub(crate) use jobs::{complaint, with};
