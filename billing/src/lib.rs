//! The billing service: accounts, keys, ledger store, settlement.
