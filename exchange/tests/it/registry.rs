//! Installed models: what is accepted, what a conversation becomes, what ids become.

mod detokenise;
pub(crate) mod fixture;
mod install;
mod prompt;
