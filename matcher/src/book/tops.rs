//! The best displayed ask of each occupied cell of an instrument, found by what a bid may be filled from.
//!
//! A bid covers few of an instrument's cells: some regions, from a tier and a band upwards. Cells of one tier and band
//! form a row, and a row says in one word in which regions somebody quotes. So what a bid covers is found by one mask a
//! row, however many other cells are occupied; a thin book has one row.

use domain::{Eligibility, KarmaBand, Price, RegionSet, Tier};

use crate::book::cells::Place;
use crate::prefetch::prefetch;

/// The best displayed ask of an occupied cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Top {
    pub(crate) place: Place,
    pub(crate) cell: u16,
    pub(crate) price: Price,
}

/// The occupied cells of one tier and band.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// Where somebody quotes. Never nowhere.
    regions: RegionSet,
    tier: Tier,
    band: KarmaBand,
    /// Where the row's tops begin. They lie by region.
    begin: u16,
}

impl Row {
    fn key(&self) -> (Tier, KarmaBand) {
        (self.tier, self.band)
    }

    /// The position of a place's top, or where it belongs.
    fn position(&self, place: Place) -> usize {
        usize::from(self.begin) + self.regions.rank(place.region)
    }
}

/// The best asks of an instrument.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tops {
    /// By tier, then by band.
    rows: Vec<Row>,
    /// By row, then by region.
    tops: Vec<Top>,
}

impl Tops {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Top> {
        self.tops.iter()
    }

    /// The best asks of the cells from which a bid may be filled.
    #[inline]
    pub(crate) fn covered<'a>(&'a self, eligibility: &'a Eligibility) -> Covered<'a> {
        Covered {
            eligibility,
            rows: self.rows.iter(),
            tops: &self.tops,
            row: &[],
            quoted: 0,
            left: 0,
        }
    }

    /// Asks for what a search begins with.
    #[inline]
    pub(crate) fn prefetch(&self) {
        if let (Some(row), Some(top)) = (self.rows.first(), self.tops.first()) {
            prefetch(row);
            prefetch(top);
        }
    }

    /// Brings a cell's best ask up to date: none when it displays nothing.
    pub(crate) fn set(&mut self, place: Place, cell: u16, price: Option<Price>) {
        let row = self
            .rows
            .binary_search_by_key(&(place.tier, place.band), Row::key);
        match (row, price) {
            (Ok(row), Some(price)) if self.rows[row].regions.contains(place.region) => {
                let position = self.rows[row].position(place);
                self.tops[position].price = price;
            }
            (Ok(row), Some(price)) => self.insert(row, Top { place, cell, price }),
            (Err(row), Some(price)) => {
                self.add_row(row, place);
                self.insert(row, Top { place, cell, price });
            }
            (Ok(row), None) if self.rows[row].regions.contains(place.region) => self.remove(row, place),
            (Ok(_) | Err(_), None) => {}
        }
    }

    /// Adds a row in which nobody quotes yet.
    fn add_row(&mut self, row: usize, place: Place) {
        let next = self.rows.get(row).map(|next| next.begin);
        let all = u16::try_from(self.tops.len()).expect("a book has 1,280 cells at most");
        self.rows.insert(
            row,
            Row {
                regions: RegionSet::EMPTY,
                tier: place.tier,
                band: place.band,
                begin: next.unwrap_or(all),
            },
        );
    }

    fn insert(&mut self, row: usize, top: Top) {
        let position = self.rows[row].position(top.place);
        self.tops.insert(position, top);
        self.rows[row].regions = self.rows[row].regions.with(top.place.region);
        for later in &mut self.rows[row + 1..] {
            later.begin += 1;
        }
    }

    fn remove(&mut self, row: usize, place: Place) {
        let position = self.rows[row].position(place);
        self.tops.remove(position);
        self.rows[row].regions = self.rows[row].regions.without(place.region);
        for later in &mut self.rows[row + 1..] {
            later.begin -= 1;
        }
        if self.rows[row].regions.is_empty() {
            self.rows.remove(row);
        }
    }
}

/// See [`Tops::covered`].
#[derive(Clone, Debug)]
pub(crate) struct Covered<'a> {
    eligibility: &'a Eligibility,
    rows: std::slice::Iter<'a, Row>,
    tops: &'a [Top],
    /// The row in hand, and all after it.
    row: &'a [Top],
    /// In which regions the row has a top, and in which of them the bid may be filled and was not told of it yet.
    quoted: u64,
    left: u64,
}

impl<'a> Iterator for Covered<'a> {
    type Item = &'a Top;

    #[inline]
    fn next(&mut self) -> Option<&'a Top> {
        while self.left == 0 {
            let row = self.rows.next()?;
            if row.tier >= self.eligibility.min_tier && row.band >= self.eligibility.min_band {
                self.row = &self.tops[usize::from(row.begin)..];
                self.quoted = row.regions.bits();
                self.left = self.quoted & self.eligibility.regions.bits();
            }
        }
        let region = self.left & self.left.wrapping_neg();
        self.left ^= region;
        let before = (self.quoted & (region - 1)).count_ones();
        Some(&self.row[usize::try_from(before).expect("64 bits are counted")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Region;

    /// One of 120 places: few regions, so that cells come and go often.
    fn place(dice: usize) -> Place {
        Place {
            region: Region::new(u8::try_from(dice % 6).unwrap()).unwrap(),
            tier: Tier::ALL[(dice >> 8) % 5],
            band: KarmaBand::ALL[(dice >> 16) % 4],
        }
    }

    /// Sets and clears at random, beside a list that is searched.
    #[test]
    fn a_bid_finds_what_it_covers_and_nothing_else() {
        let (mut tops, mut listed) = (Tops::default(), Vec::<Top>::new());
        let mut random = 1u64;
        for _ in 0..4_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let dice = usize::try_from(random >> 33).unwrap();
            let place = place(dice);
            let cell = u16::try_from(dice % 1_280).unwrap();
            let price = (dice % 3 > 0).then(|| Price::from_ticks(1 + random % 97).unwrap());
            let known = listed.iter().position(|top| top.place == place);
            match (known, price) {
                (Some(known), Some(price)) => listed[known].price = price,
                (Some(known), None) => {
                    listed.remove(known);
                }
                (None, Some(price)) => listed.push(Top { place, cell, price }),
                (None, None) => {}
            }
            tops.set(place, cell, price);
            listed.sort_unstable_by_key(|top| (top.place.tier, top.place.band, top.place.region));
            assert!(tops.iter().eq(&listed));
            let eligibility = Eligibility {
                home: place.region,
                regions: [place.region, Region::new(3).unwrap()].into_iter().collect(),
                min_tier: Tier::ALL[dice % 5],
                min_band: KarmaBand::ALL[dice % 4],
            };
            let covered = listed.iter().filter(|top| top.place.is_covered_by(&eligibility));
            assert!(tops.covered(&eligibility).eq(covered));
        }
    }
}
