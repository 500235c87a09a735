//! Double entry, reserved accounts and settlement, without a database.
