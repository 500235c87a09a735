//! Substitution over 320 cells.

use domain::{
    AccountId, ClientOrderId, Credits, Eligibility, Excluded, InstrumentId, IslandId, Jobs, KarmaBand,
    LatencyValue, PayloadDigest, Price, Region, RegionTable, RoundTrip, SelfTradeMode, SessionId, Slots,
    Tier, TimeInForce, TransferId, Units,
};
use matcher::{
    BidLimit, Command, Fund, JoinIsland, ListInstrument, PlaceAsk, PlaceBid, PostOnly, Room, SetTier,
};

use crate::book_replay::specification;
use crate::workloads::random::Random;
use crate::workloads::{Bench, Kind, at};

const REGIONS: u8 = 16;
const ISLANDS_PER_CELL: u64 = 10;
const ASKS: u64 = 100_000;
const RESTING_BIDS: u64 = 50_000;
const TIMED: u64 = 200_000;
/// Owners of Islands are other accounts than those that bid.
const OWNER: u64 = 1 << 40;
const SESSION: SessionId = SessionId::new(3);

/// Runs it with so many accounts that bid, and reports one line of JSON.
///
/// # Errors
/// When the engine refuses what sets it up.
pub fn implied(accounts: u64) -> anyhow::Result<String> {
    let mut random = Random::new(11);
    let mut bench = Bench::new(&Room {
        orders: 400_000,
        client_order_ids: 400_000,
        trades: 200_000,
    });
    set_up(&mut bench, accounts)?;
    let islands = u64::from(REGIONS) * 20 * ISLANDS_PER_CELL;
    let mut next_id = 1;
    for _ in 0..ASKS {
        let price = 1_000 + random.below(1_000);
        bench.set_up(ask(random.below(islands), price, next_id)?)?;
        next_id += 1;
    }
    for _ in 0..RESTING_BIDS {
        let price = 500 + random.below(490);
        bench.set_up(bid(&mut random, accounts, price, next_id)?)?;
        next_id += 1;
    }
    let mut commands = Vec::new();
    for _ in 0..TIMED {
        // Half of either side rests, the other half reaches what rests on the other.
        let reaches = random.below(2) == 0;
        commands.push(if random.below(2) == 0 {
            let price = if reaches { 1_100 } else { 500 + random.below(490) };
            (Kind::Bid, bid(&mut random, accounts, price, next_id)?)
        } else {
            let price = if reaches { 900 } else { 1_000 + random.below(1_000) };
            (Kind::Ask, ask(random.below(islands), price, next_id)?)
        });
        next_id += 1;
    }
    let (bids, asks, trades) = bench.time(commands);
    let depth = bench.engine.depth(InstrumentId::new(0)).unwrap_or_default();
    Ok(format!(
        "{{\"workload\":\"implied\",\"operations\":{TIMED},\"trades\":{trades},\"classes\":{},\
         \"bid_p50_ns\":{},\"bid_p99_ns\":{},\"ask_p50_ns\":{},\"ask_p99_ns\":{}}}",
        depth.classes.len(),
        at(&bids, 5_000),
        at(&bids, 9_900),
        at(&asks, 5_000),
        at(&asks, 9_900),
    ))
}

fn set_up(bench: &mut Bench, accounts: u64) -> anyhow::Result<()> {
    let codes = (0..REGIONS).map(|region| format!("r{region}")).collect();
    let row = |a: u8| {
        let distance = |b: u8| RoundTrip::from_millis(5 + 7 * u16::from(a.abs_diff(b)));
        (0..REGIONS).map(distance).collect()
    };
    let table = RegionTable::new(codes, (0..REGIONS).map(row).collect())?;
    bench.set_up(Command::SetRegions(table))?;
    bench.set_up(Command::ListInstrument(ListInstrument {
        instrument: InstrumentId::new(0),
        specification: specification(),
    }))?;
    bench.set_up(Command::OpenSession)?;
    for account in 0..accounts {
        bench.set_up(Command::Fund(Fund {
            transfer: TransferId::new(u128::from(account)),
            account: AccountId::new(account),
            amount: Credits::from_nano(1 << 42),
        }))?;
    }
    let mut island = 0;
    for region in 0..REGIONS {
        for tier in Tier::ALL {
            for band in KarmaBand::ALL {
                for _ in 0..ISLANDS_PER_CELL {
                    bench.set_up(Command::JoinIsland(JoinIsland {
                        island: IslandId::new(island),
                        owner: AccountId::new(OWNER + island),
                        session: SESSION,
                        region: Region::new(region)?,
                        band,
                        slots: Slots::new(u32::MAX),
                    }))?;
                    bench.set_up(Command::SetTier(SetTier {
                        island: IslandId::new(island),
                        instrument: InstrumentId::new(0),
                        tier: Some(tier),
                    }))?;
                    island += 1;
                }
            }
        }
    }
    Ok(())
}

fn ask(island: u64, ticks: u64, id: u64) -> anyhow::Result<Command> {
    Ok(Command::PlaceAsk(PlaceAsk {
        island: IslandId::new(island),
        session: SESSION,
        client_order_id: ClientOrderId::new(u128::from(id)),
        instrument: InstrumentId::new(0),
        price: Price::from_ticks(ticks)?,
        jobs: Jobs::ONE,
        time_in_force: TimeInForce::Gtc,
        post_only: PostOnly::No,
        self_trade: SelfTradeMode::Skip,
    }))
}

/// A bid of one of 256 eligibilities: 16 homes, four neighbours, and four floors that leave 16 to 24 cells.
fn bid(random: &mut Random, accounts: u64, ticks: u64, id: u64) -> anyhow::Result<Command> {
    let home = u8::try_from(random.below(u64::from(REGIONS)))?;
    let neighbour = (home + 1 + u8::try_from(random.below(4))?) % REGIONS;
    let (min_tier, min_band) = match random.below(4) {
        0 => (Tier::Laptop, KarmaBand::C),
        1 => (Tier::Desktop, KarmaBand::C),
        2 => (Tier::Phone, KarmaBand::B),
        _ => (Tier::Laptop, KarmaBand::B),
    };
    Ok(Command::PlaceBid(PlaceBid {
        account: AccountId::new(random.below(accounts)),
        session: SESSION,
        client_order_id: ClientOrderId::new(u128::from(id)),
        instrument: InstrumentId::new(0),
        limit: BidLimit::At(Price::from_ticks(ticks)?),
        jobs: Jobs::ONE,
        units_max: Units::new(1),
        eligibility: Eligibility {
            home: Region::new(home)?,
            regions: [Region::new(home)?, Region::new(neighbour)?]
                .into_iter()
                .collect(),
            min_tier,
            min_band,
        },
        latency_value: LatencyValue::new(1_000),
        excluded: Excluded::default(),
        time_in_force: TimeInForce::Gtc,
        self_trade: SelfTradeMode::Skip,
        jobs_min: Jobs::ZERO,
        payload: PayloadDigest::NONE,
    }))
}
