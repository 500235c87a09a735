//! What several tests need: a whole exchange, a billing double with keys, clients.

pub(crate) mod bank;
pub(crate) mod http;
pub(crate) mod island;
pub(crate) mod whole;
