//! Model files: what a manifest says, where a model is kept, how it gets there.

pub mod gguf;
