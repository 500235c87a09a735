//! Model files: what a manifest says, where a model is kept, how it gets there.
//!
//! `docs/models.md` describes the folder that an installed model is; the exchange's registry reads
//! the same folder. This module never runs a model.

pub mod manifest;
pub mod progress;
pub mod source;
pub mod store;

mod digest;
mod fetch;
mod tokenizer;
