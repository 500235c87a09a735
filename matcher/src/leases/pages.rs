//! What is known of each lease: the run that it belongs to while it is open, and the Island whose slot it holds.
//!
//! Leases are numbered in the order in which they open, so 64 neighbours share a page, found by its number; the page
//! goes when the last of them has ended and given back its slot. Memory follows the leases that are under way, however
//! long one of them stays.

use domain::LeaseId;

use crate::book::arena::{Arena, Handle};
use crate::index::{Index, Tag};

/// Leases in a page.
const PAGE: usize = 64;

/// What is known of one lease. One of which nothing is known has ended and given back its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its run, while it is open.
    pub(crate) run: Option<Handle>,
    /// The Island whose slot it holds.
    pub(crate) holder: Option<Handle>,
}

impl Entry {
    fn is_known(self) -> bool {
        self != Self::default()
    }
}

#[derive(Clone, Debug)]
struct Page {
    number: u64,
    /// How many of its entries are known.
    count: u32,
    entries: [Entry; PAGE],
}

/// Entries by lease.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    pages: Arena<Page>,
    by_number: Index,
    /// The page that was written last: where the next lease goes.
    latest: Option<Handle>,
}

impl Pages {
    /// Sets aside what so many trades of a few jobs each may need.
    pub(super) fn make_room(&mut self, trades: usize) {
        let count = trades.div_ceil(4);
        self.pages.make_room(count);
        self.by_number.make_room(count);
    }

    #[inline]
    pub(super) fn get(&self, lease: LeaseId) -> Entry {
        let (number, place) = split(lease);
        self.find(number)
            .map(|page| self.pages[page].entries[place])
            .unwrap_or_default()
    }

    /// Changes what is known of a lease.
    #[inline]
    pub(super) fn set(&mut self, lease: LeaseId, entry: Entry) {
        let (number, place) = split(lease);
        let Some(handle) = self.find(number) else {
            if entry.is_known() {
                let page = self.add(number);
                self.pages[page].entries[place] = entry;
                self.pages[page].count = 1;
            }
            return;
        };
        let page = &mut self.pages[handle];
        let before = std::mem::replace(&mut page.entries[place], entry);
        match (before.is_known(), entry.is_known()) {
            (false, true) => page.count += 1,
            (true, false) => page.count -= 1,
            (true, true) | (false, false) => {}
        }
        if page.count == 0 {
            self.pages.remove(handle);
            self.by_number.remove(Tag::of_number(number), handle);
            self.latest = self.latest.filter(|latest| *latest != handle);
        }
    }

    /// Makes the entries of new leases, of which nothing was known.
    #[inline]
    pub(super) fn fill(&mut self, first: LeaseId, count: u32, entry: Entry) {
        let mut lease = first.get();
        let mut left = usize::try_from(count).expect("32 bits fit a usize");
        while left > 0 {
            let (number, place) = split(LeaseId::new(lease));
            let handle = self.find(number).unwrap_or_else(|| self.add(number));
            let page = &mut self.pages[handle];
            let stretch = left.min(PAGE - place);
            page.entries[place..place + stretch].fill(entry);
            page.count += u32::try_from(stretch).expect("a page's entries fit 32 bits");
            lease += u64::try_from(stretch).expect("a page's entries fit 64 bits");
            left -= stretch;
        }
    }

    /// Every lease of which something is known, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (LeaseId, Entry)> {
        let mut pages: Vec<&Page> = self.pages.handles().map(|page| &self.pages[page]).collect();
        pages.sort_unstable_by_key(|page| page.number);
        pages.into_iter().flat_map(|page| {
            let leases = (page.number * 64..).map(LeaseId::new);
            let entries = leases.zip(page.entries);
            entries.filter(|(_, entry)| entry.is_known())
        })
    }

    #[inline]
    fn find(&self, number: u64) -> Option<Handle> {
        let is_meant = |page: Handle| self.pages[page].number == number;
        self.latest
            .filter(|page| is_meant(*page))
            .or_else(|| self.by_number.find(Tag::of_number(number), is_meant))
    }

    fn add(&mut self, number: u64) -> Handle {
        let page = self.pages.insert(Page {
            number,
            count: 0,
            entries: [Entry::default(); PAGE],
        });
        self.by_number.insert(Tag::of_number(number), page);
        self.latest = Some(page);
        page
    }
}

/// A lease's page, and its place there.
#[inline]
fn split(lease: LeaseId) -> (u64, usize) {
    let place = usize::try_from(lease.get() & 63).expect("6 bits fit a usize");
    (lease.get() >> 6, place)
}
