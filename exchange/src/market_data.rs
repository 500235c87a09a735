//! Market data: depth and trades, public to read.
