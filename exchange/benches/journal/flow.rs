//! Commands as a busy market makes them: bids and asks that rest, orders that take, cancels of what was placed a while
//! ago. Nothing is refused, and the books stay as deep as they are.

use domain::{
    AccountId, ClientOrderId, Credits, Digest, Eligibility, Excluded, InputWeight, Instrument, InstrumentId,
    IslandId, Jobs, KarmaBand, LatencyValue, OrderId, PayloadDigest, Price, Region, RegionTable, RoundTrip,
    SelfTradeMode, Sequence, SessionId, Slots, SpeedFloors, Task, Tier, TierFloor, TimeInForce, Timestamp,
    TokenCount, TransferId, Units,
};
use matcher::{
    BidLimit, Cancel, Command, Fund, JoinIsland, ListInstrument, PlaceAsk, PlaceBid, PostOnly, SetTier,
    Stamped,
};

const PARTIES: u64 = 1_000;
/// Owners of Islands are other accounts than those that bid.
const OWNER: u64 = 1 << 40;
/// The command that opens the one session.
const SESSION: u64 = 3;
/// How many bids, and as many asks, rest until they are cancelled.
const RESTING: u64 = 40_000;

/// The commands, in order, without end.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    sequence: u64,
}

impl Iterator for Flow {
    type Item = Stamped;

    fn next(&mut self) -> Option<Stamped> {
        self.sequence += 1;
        Some(Stamped {
            sequence: Sequence::new(self.sequence),
            at: Timestamp::from_micros(self.sequence),
            command: command(self.sequence),
        })
    }
}

const OPENING: u64 = SESSION + 3 * PARTIES;

fn command(number: u64) -> Command {
    let region = Region::new(0).unwrap();
    let party = number % PARTIES;
    match number {
        1 => {
            let own = vec![vec![RoundTrip::from_millis(1)]];
            Command::SetRegions(RegionTable::new(vec!["eu".to_owned()], own).unwrap())
        }
        2 => Command::ListInstrument(ListInstrument {
            instrument: InstrumentId::new(0),
            specification: specification(),
        }),
        SESSION => Command::OpenSession,
        _ if number <= SESSION + PARTIES => Command::Fund(Fund {
            transfer: TransferId::new(u128::from(number)),
            account: AccountId::new(party),
            amount: Credits::from_nano(1 << 40),
        }),
        _ if number <= SESSION + 2 * PARTIES => Command::JoinIsland(JoinIsland {
            island: IslandId::new(party),
            owner: AccountId::new(OWNER + party),
            session: session(),
            region,
            band: KarmaBand::B,
            slots: Slots::new(u32::MAX),
        }),
        _ if number <= OPENING => Command::SetTier(SetTier {
            island: IslandId::new(party),
            instrument: InstrumentId::new(0),
            tier: Some(Tier::Desktop),
        }),
        _ => order(number),
    }
}

/// Of six commands two rest, two cancel what rested, one takes, one is taken in full.
fn order(number: u64) -> Command {
    let (kind, spread) = (number % 6, (number / 6) % 50);
    let old = number.saturating_sub(RESTING * 6);
    match kind {
        0 => bid(number, 1_000 - spread, TimeInForce::Gtc),
        1 => ask(number, 1_002 + spread),
        // The bid, then the ask, that rested first in its own six.
        2 if old > OPENING => cancel((old - 2) % PARTIES, old - 2),
        3 if old > OPENING => cancel(OWNER + (old - 2) % PARTIES, old - 2),
        2 => bid(number, 900 - spread, TimeInForce::Ioc),
        3 | 4 => ask(number, 1_001),
        _ => bid(number, 1_001, TimeInForce::Ioc),
    }
}

fn cancel(account: u64, order: u64) -> Command {
    Command::Cancel(Cancel {
        account: AccountId::new(account),
        order: OrderId::of_sequence(Sequence::new(order)),
    })
}

fn bid(number: u64, ticks: u64, time_in_force: TimeInForce) -> Command {
    let region = Region::new(0).unwrap();
    Command::PlaceBid(PlaceBid {
        account: AccountId::new(number % PARTIES),
        session: session(),
        client_order_id: ClientOrderId::new(u128::from(number)),
        instrument: InstrumentId::new(0),
        limit: BidLimit::At(Price::from_ticks(ticks).unwrap()),
        jobs: Jobs::ONE,
        units_max: Units::new(1),
        eligibility: Eligibility {
            home: region,
            regions: [region].into_iter().collect(),
            min_tier: Tier::Phone,
            min_band: KarmaBand::D,
        },
        latency_value: LatencyValue::ZERO,
        excluded: Excluded::default(),
        time_in_force,
        self_trade: SelfTradeMode::Skip,
        jobs_min: Jobs::ZERO,
        payload: PayloadDigest::NONE,
    })
}

fn ask(number: u64, ticks: u64) -> Command {
    Command::PlaceAsk(PlaceAsk {
        island: IslandId::new(number % PARTIES),
        session: session(),
        client_order_id: ClientOrderId::new(u128::from(number)),
        instrument: InstrumentId::new(0),
        price: Price::from_ticks(ticks).unwrap(),
        jobs: Jobs::ONE,
        time_in_force: TimeInForce::Gtc,
        post_only: PostOnly::No,
        self_trade: SelfTradeMode::Skip,
    })
}

fn session() -> SessionId {
    SessionId::of_sequence(Sequence::new(SESSION))
}

fn specification() -> Instrument {
    let floor = TierFloor {
        decode_per_second: 1,
        prefill_per_second: 1,
    };
    Instrument {
        model: "flow".to_owned(),
        task: Task::Chat,
        digest: Digest::new([0; 32]),
        input_weight: InputWeight::DEFAULT,
        context_max: TokenCount::new(1),
        floors: SpeedFloors::new([floor; 5]),
    }
}
