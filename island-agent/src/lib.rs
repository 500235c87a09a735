//! The Island's program: enrols, prices, posts asks and runs jobs.

pub mod models;
pub mod runner;
pub mod sampler;
