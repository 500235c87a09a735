//! What the implied workload asks of an engine: one generator for what is timed and for what is compared.

use domain::{
    AccountId, ClientOrderId, Credits, Eligibility, Excluded, InstrumentId, IslandId, Jobs, KarmaBand,
    LatencyValue, OrderId, PayloadDigest, Price, Region, RegionTable, RoundTrip, SelfTradeMode, SessionId,
    Slots, Tier, TimeInForce, TransferId, Units,
};
use matcher::{BidLimit, Command, Fund, JoinIsland, ListInstrument, PlaceAsk, PlaceBid, PostOnly, SetTier};

use crate::book_replay::specification;
use crate::workloads::random::Random;

const REGIONS: u8 = 16;
const CELLS: u64 = 16 * 5 * 4;
/// Owners of Islands are other accounts than those that bid.
const OWNER: u64 = 1 << 40;
/// The third command opens it.
const SESSION: SessionId = SessionId::new(3);
const SEED: u64 = 11;

/// How much of it there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImpliedScale {
    /// Accounts that bid.
    pub accounts: u64,
    /// Islands in each of the 320 cells.
    pub islands_per_cell: u64,
    /// Asks that rest before anything is timed.
    pub resting_asks: u64,
    /// Bids that rest before anything is timed.
    pub resting_bids: u64,
    /// Orders that are timed.
    pub timed: u64,
}

impl ImpliedScale {
    /// What is measured.
    pub const FULL: Self = Self {
        accounts: 1_000_000,
        islands_per_cell: 10,
        resting_asks: 100_000,
        resting_bids: 50_000,
        timed: 200_000,
    };
}

/// One instrument in 16 regions, 5 tiers and 4 bands, and the orders that come to it.
#[derive(Clone, Copy, Debug)]
pub struct ImpliedMarket {
    scale: ImpliedScale,
}

impl ImpliedMarket {
    /// The market at a scale; the same every time.
    #[must_use]
    pub const fn new(scale: ImpliedScale) -> Self {
        Self { scale }
    }

    /// What comes before the first order: regions, instrument, session, accounts, Islands.
    pub fn set_up(&self) -> impl Iterator<Item = Command> + use<> {
        let first = [
            Command::SetRegions(table()),
            Command::ListInstrument(ListInstrument {
                instrument: InstrumentId::new(0),
                specification: specification(),
            }),
            Command::OpenSession,
        ];
        let per_cell = self.scale.islands_per_cell;
        let islands = (0..CELLS * per_cell).flat_map(move |island| join(island, island.div_euclid(per_cell)));
        let funds = (0..self.scale.accounts).map(fund);
        first.into_iter().chain(funds).chain(islands)
    }

    /// The orders: first those that rest, then those that are timed. Half of the timed ones of either side rest too,
    /// the other half reach what rests on the other.
    pub fn orders(&self) -> impl Iterator<Item = Command> + use<> {
        let scale = self.scale;
        let resting = scale.resting_asks + scale.resting_bids;
        let mut random = Random::new(SEED);
        (1..=resting + scale.timed).map(move |number| {
            if number <= scale.resting_asks {
                return scale.ask(&mut random, false, number);
            }
            if number <= resting {
                return scale.bid(&mut random, false, number);
            }
            let reaches = random.below(2) == 0;
            if random.below(2) == 0 {
                scale.bid(&mut random, reaches, number)
            } else {
                scale.ask(&mut random, reaches, number)
            }
        })
    }

    /// How many of the orders come before the timed ones.
    ///
    /// # Panics
    /// When they are more than an address.
    #[must_use]
    pub fn resting_count(&self) -> usize {
        usize::try_from(self.scale.resting_asks + self.scale.resting_bids).expect("they fit in memory")
    }

    /// The number, from 1, of an order that was entered after the set-up.
    #[must_use]
    pub fn number_of(&self, order: OrderId) -> u64 {
        let islands = CELLS * self.scale.islands_per_cell;
        order.get() - (3 + self.scale.accounts + 2 * islands)
    }
}

impl ImpliedScale {
    fn ask(&self, random: &mut Random, reaches: bool, number: u64) -> Command {
        let ticks = if reaches { 900 } else { 1_000 + random.below(1_000) };
        Command::PlaceAsk(PlaceAsk {
            island: IslandId::new(random.below(CELLS * self.islands_per_cell)),
            session: SESSION,
            client_order_id: ClientOrderId::new(u128::from(number)),
            instrument: InstrumentId::new(0),
            price: price(ticks),
            jobs: Jobs::ONE,
            time_in_force: TimeInForce::Gtc,
            post_only: PostOnly::No,
            self_trade: SelfTradeMode::Skip,
        })
    }

    /// A bid of one of 256 eligibilities: 16 homes, four neighbours, and four floors that leave 16 to 24 cells.
    fn bid(&self, random: &mut Random, reaches: bool, number: u64) -> Command {
        let ticks = if reaches { 1_100 } else { 500 + random.below(490) };
        let home = random.below(u64::from(REGIONS));
        let neighbour = (home + 1 + random.below(4)) % u64::from(REGIONS);
        let (min_tier, min_band) = match random.below(4) {
            0 => (Tier::Laptop, KarmaBand::C),
            1 => (Tier::Desktop, KarmaBand::C),
            2 => (Tier::Phone, KarmaBand::B),
            _ => (Tier::Laptop, KarmaBand::B),
        };
        Command::PlaceBid(PlaceBid {
            account: AccountId::new(random.below(self.accounts)),
            session: SESSION,
            client_order_id: ClientOrderId::new(u128::from(number)),
            instrument: InstrumentId::new(0),
            limit: BidLimit::At(price(ticks)),
            jobs: Jobs::ONE,
            units_max: Units::new(1),
            eligibility: Eligibility {
                home: region(home),
                regions: [region(home), region(neighbour)].into_iter().collect(),
                min_tier,
                min_band,
            },
            latency_value: LatencyValue::new(1_000),
            excluded: Excluded::default(),
            time_in_force: TimeInForce::Gtc,
            self_trade: SelfTradeMode::Skip,
            jobs_min: Jobs::ZERO,
            payload: PayloadDigest::NONE,
        })
    }
}

fn table() -> RegionTable {
    let codes = (0..REGIONS).map(|region| format!("r{region}")).collect();
    let row = |a: u8| {
        let distance = |b: u8| RoundTrip::from_millis(5 + 7 * u16::from(a.abs_diff(b)));
        (0..REGIONS).map(distance).collect()
    };
    RegionTable::new(codes, (0..REGIONS).map(row).collect()).expect("the distances are the same both ways")
}

fn fund(account: u64) -> Command {
    Command::Fund(Fund {
        transfer: TransferId::new(u128::from(account)),
        account: AccountId::new(account),
        amount: Credits::from_nano(1 << 42),
    })
}

/// An Island of a cell, whose number says region, tier and band.
fn join(island: u64, cell: u64) -> [Command; 2] {
    let (region_and_tier, band) = (cell.div_euclid(4), cell.rem_euclid(4));
    let (region_index, tier) = (region_and_tier.div_euclid(5), region_and_tier.rem_euclid(5));
    [
        Command::JoinIsland(JoinIsland {
            island: IslandId::new(island),
            owner: AccountId::new(OWNER + island),
            session: SESSION,
            region: region(region_index),
            band: pick(&KarmaBand::ALL, band),
            slots: Slots::new(u32::MAX),
        }),
        Command::SetTier(SetTier {
            island: IslandId::new(island),
            instrument: InstrumentId::new(0),
            tier: Some(pick(&Tier::ALL, tier)),
        }),
    ]
}

fn pick<T: Copy>(all: &[T], index: u64) -> T {
    all[usize::try_from(index).expect("a small number")]
}

fn region(index: u64) -> Region {
    let index = u8::try_from(index).expect("a small number");
    Region::new(index).expect("16 regions are fewer than 64")
}

fn price(ticks: u64) -> Price {
    Price::from_ticks(ticks).expect("at most 2,000 ticks, and not none")
}
