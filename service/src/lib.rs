//! What every service's shell needs: configuration, logs, health, shutdown.
