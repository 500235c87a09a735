//! Leases, deadlines and failover: what happens to a trade until its outcome.
