//! The pure core, driven by hand and by chance.

mod properties;
mod scenario;
