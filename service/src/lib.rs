//! What every service's shell needs: configuration, logs, clock, TLS, shutdown, rich errors, reflection.
//!
//! Knows nothing of what Atoll trades. Deliberately absent: anything that only one service uses.

pub mod cache;
pub mod clock;
pub mod config;
pub mod errors;
pub mod grpc;
pub mod logs;
pub mod metrics;
pub mod process;
pub mod secret;
pub mod shutdown;
pub mod tls;
