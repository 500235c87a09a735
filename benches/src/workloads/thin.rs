//! Many instruments with a handful of orders each.

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
use crate::workloads::{Bench, Kind, at, resident_bytes};

const INSTRUMENTS: u32 = 20_000;
/// Resting orders of each side in each instrument.
const ORDERS: u64 = 3;
const PARTIES: u64 = 100;
const OWNER: u64 = 1 << 40;
const TIMED: u64 = 200_000;

/// Runs it and reports one line of JSON.
///
/// # Errors
/// When the engine refuses what sets it up.
pub fn thin() -> anyhow::Result<String> {
    let mut random = Random::new(12);
    // Room for the orders is set aside first, so that what is counted is what the instruments take.
    let mut bench = Bench::new(&Room {
        orders: 400_000,
        client_order_ids: 400_000,
        trades: 100_000,
    });
    let session = set_up(&mut bench)?;
    let before = resident_bytes()?;
    let mut next_id = 1;
    for instrument in 0..INSTRUMENTS {
        bench.set_up(Command::ListInstrument(ListInstrument {
            instrument: InstrumentId::new(instrument),
            specification: specification(),
        }))?;
        let island = u64::from(instrument) % PARTIES;
        bench.set_up(Command::SetTier(SetTier {
            island: IslandId::new(island),
            instrument: InstrumentId::new(instrument),
            tier: Some(Tier::Desktop),
        }))?;
        for _ in 0..ORDERS {
            bench.set_up(ask(session, instrument, 110 + random.below(50), next_id)?)?;
            bench.set_up(bid(session, instrument, 100 - random.below(50), next_id + 1)?)?;
            next_id += 2;
        }
    }
    let taken = resident_bytes()?.saturating_sub(before);
    let mut commands = Vec::new();
    for _ in 0..TIMED {
        let instrument = u32::try_from(random.below(u64::from(INSTRUMENTS)))?;
        commands.push(if random.below(2) == 0 {
            (
                Kind::Bid,
                bid(session, instrument, 60 + random.below(60), next_id)?,
            )
        } else {
            (
                Kind::Ask,
                ask(session, instrument, 90 + random.below(60), next_id)?,
            )
        });
        next_id += 1;
    }
    let mut trades = 0u64;
    let (bids, asks) = bench.time(commands, |_| trades += 1);
    Ok(format!(
        "{{\"workload\":\"thin\",\"instruments\":{INSTRUMENTS},\"operations\":{TIMED},\"trades\":{trades},\
         \"bid_p50_ns\":{},\"bid_p99_ns\":{},\"ask_p50_ns\":{},\"ask_p99_ns\":{},\"bytes_per_instrument\":{}}}",
        at(&bids, 5_000),
        at(&bids, 9_900),
        at(&asks, 5_000),
        at(&asks, 9_900),
        taken.div_euclid(u64::from(INSTRUMENTS)),
    ))
}

fn set_up(bench: &mut Bench) -> anyhow::Result<SessionId> {
    let table = RegionTable::new(vec!["eu".to_owned()], vec![vec![RoundTrip::from_millis(1)]])?;
    bench.set_up(Command::SetRegions(table))?;
    let session = SessionId::of_sequence(bench.next_sequence);
    bench.set_up(Command::OpenSession)?;
    for party in 0..PARTIES {
        bench.set_up(Command::Fund(Fund {
            transfer: TransferId::new(u128::from(party)),
            account: AccountId::new(party),
            amount: Credits::from_nano(1 << 42),
        }))?;
        bench.set_up(Command::JoinIsland(JoinIsland {
            island: IslandId::new(party),
            owner: AccountId::new(OWNER + party),
            session,
            region: Region::new(0)?,
            band: KarmaBand::B,
            slots: Slots::new(u32::MAX),
        }))?;
    }
    Ok(session)
}

fn ask(session: SessionId, instrument: u32, ticks: u64, id: u64) -> anyhow::Result<Command> {
    Ok(Command::PlaceAsk(PlaceAsk {
        island: IslandId::new(u64::from(instrument) % PARTIES),
        session,
        client_order_id: ClientOrderId::new(u128::from(id)),
        instrument: InstrumentId::new(instrument),
        price: Price::from_ticks(ticks)?,
        jobs: Jobs::ONE,
        time_in_force: TimeInForce::Gtc,
        post_only: PostOnly::No,
        self_trade: SelfTradeMode::Skip,
    }))
}

fn bid(session: SessionId, instrument: u32, ticks: u64, id: u64) -> anyhow::Result<Command> {
    Ok(Command::PlaceBid(PlaceBid {
        account: AccountId::new(id % PARTIES),
        session,
        client_order_id: ClientOrderId::new(u128::from(id)),
        instrument: InstrumentId::new(instrument),
        limit: BidLimit::At(Price::from_ticks(ticks)?),
        jobs: Jobs::ONE,
        units_max: Units::new(1),
        eligibility: Eligibility {
            home: Region::new(0)?,
            regions: [Region::new(0)?].into_iter().collect(),
            min_tier: Tier::Phone,
            min_band: KarmaBand::D,
        },
        latency_value: LatencyValue::ZERO,
        excluded: Excluded::default(),
        time_in_force: TimeInForce::Gtc,
        self_trade: SelfTradeMode::Skip,
        jobs_min: Jobs::ZERO,
        payload: PayloadDigest::NONE,
    }))
}
