//! The one TLS provider: ring. Two providers in one process make rustls panic, so every main calls this first.

/// Makes ring the process's provider. A second call changes nothing.
pub fn install_provider() {
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        tracing::debug!("the TLS provider was installed before");
    }
}
