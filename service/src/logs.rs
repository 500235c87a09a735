//! Logs go to standard error, so that standard output stays a command's own.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The variable that overrides the default filter, in `tracing`'s syntax.
pub const FILTER_VARIABLE: &str = "ATOLL_LOG";

/// Starts logging to standard error. A second call changes nothing.
///
/// `default_filter` holds unless [`FILTER_VARIABLE`] is set; a malformed variable falls back to it.
pub fn init(default_filter: &str) {
    let filter = EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default_filter));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}
