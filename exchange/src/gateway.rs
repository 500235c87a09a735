//! The consumer's door: one port that speaks gRPC and OpenAI-compatible HTTP.
//!
//! Owns who may come in (`auth`, `admission`), how a request becomes a bid with its payloads, how a job's events
//! become an answer, and what every refusal is called on either wire (`errors`).
//!
//! Deliberately absent: any decision about orders, leases or money.
