//! What holds over any script of commands, each property by itself and judged from the outside.
//!
//! Scripts come from proptest: a failure is shrunk to the fewest commands that still show it. What is judged is rebuilt
//! from commands and events alone, as a projection downstream would, or read from the engine's views; the engine's own
//! audit is not asked.

mod depth;
mod endings;
mod money;
mod priority;
mod projection;
mod quantity;
mod refusals;
mod replays;
mod script;
mod self_trade;
mod slots;
