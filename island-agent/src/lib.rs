//! The Island's program: enrols, prices, posts asks and runs jobs.
