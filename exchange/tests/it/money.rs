//! Credits between engine and billing: topped up, spent, settled, returned, compared, with billing at its worst.

pub(crate) mod billing;
mod client;
mod market;
mod outbox;
mod reconcile;
mod top_up;
