//! The journal: every command, durable before anybody sees what it did.
