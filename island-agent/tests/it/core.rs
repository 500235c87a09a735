//! The pure core, driven by hand and by chance.

mod asks;
mod drains;
mod jobs;
mod links;
mod properties;
mod scenario;
