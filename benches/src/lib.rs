//! Measurements: the engine, the journal, the services beside their floors.

pub mod book_replay;
pub mod workloads;
