//! The region table of an exchange that is not told another one.

use domain::{RegionTable, RoundTrip};

/// The codes, west to east.
const CODES: [&str; 8] = [
    "us-west",
    "us-east",
    "sa-east",
    "eu-west",
    "eu-central",
    "ap-south",
    "ap-southeast",
    "ap-northeast",
];

/// Round trips in milliseconds, a row a region. They are configured values, not measurements of ours: what public
/// clouds publish between data centres of these regions, rounded to 5 ms, and 10 ms for a home connection inside one
/// region. An operator who has measured his own writes `[regions]` into the configuration.
#[rustfmt::skip]
const ROUND_TRIPS: [[u16; 8]; 8] = [
    [ 10,  65, 175, 135, 150, 220, 165, 100],
    [ 65,  10, 115,  75,  90, 195, 225, 155],
    [175, 115,  10, 180, 205, 300, 330, 260],
    [135,  75, 180,  10,  25, 125, 180, 210],
    [150,  90, 205,  25,  10, 120, 160, 230],
    [220, 195, 300, 125, 120,  10,  60, 130],
    [165, 225, 330, 180, 160,  60,  10,  75],
    [100, 155, 260, 210, 230, 130,  75,  10],
];

/// The table that is in force when the configuration has none.
///
/// # Panics
/// Never: a test reads it.
#[must_use]
pub fn built_in_regions() -> RegionTable {
    let codes = CODES.iter().map(|code| (*code).to_owned()).collect();
    let round_trips = ROUND_TRIPS
        .iter()
        .map(|row| row.iter().copied().map(RoundTrip::from_millis).collect())
        .collect();
    RegionTable::new(codes, round_trips).expect("the built-in table is square and symmetric")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_well_formed_and_nearest_to_itself() {
        let table = built_in_regions();
        for home in table.regions() {
            let nearest = table
                .regions()
                .min_by_key(|region| table.round_trip(home, *region))
                .unwrap();
            assert_eq!(nearest, home);
        }
    }
}
