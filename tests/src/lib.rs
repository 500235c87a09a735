//! Tests that cross service boundaries.
