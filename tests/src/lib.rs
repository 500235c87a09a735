//! Tests that cross service boundaries; they live in `tests/it/`.
