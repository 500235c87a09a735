//! An exchange without gateway and billing, and agents that speak real gRPC to it over loopback.

pub(crate) mod agent;
pub(crate) mod house;
