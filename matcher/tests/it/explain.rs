//! Explanations: they say what an order lacks, and what they say is what a bid then meets.

use domain::{
    AccountId, ClientOrderId, Credits, Eligibility, Excluded, InstrumentId, Jobs, KarmaBand, LatencyValue,
    PayloadDigest, Price, Region, RegionSet, SelfTradeMode, Tier, TimeInForce, Timestamp, TransferId, Units,
};
use expect_test::{Expect, expect};
use matcher::{
    AskSubject, BidLimit, BidSubject, Buyer, CellKey, Command, Engine, Event, Fund, Limits, OrderDetail,
    PlaceBid, Stamped,
};

use crate::campaign::{Generator, Random};
use crate::scenario::World;

fn region(index: u8) -> Region {
    Region::new(index).unwrap()
}

fn anybody() -> Buyer {
    Buyer {
        eligibility: Eligibility {
            home: region(0),
            regions: RegionSet::from_iter([0, 1, 2].map(region)),
            min_tier: Tier::Phone,
            min_band: KarmaBand::D,
        },
        latency_value: LatencyValue::new(0),
        excluded: Excluded::default(),
        limit: None,
    }
}

fn ticks(price: u64) -> Price {
    Price::from_ticks(price).unwrap()
}

/// Shows how each named ask stands before a buyer.
fn check_asks(script: &str, asks: &str, buyer: &Buyer, expected: Expect) {
    let mut world = World::within(Limits::default());
    world.run(script);
    let mut shown = String::new();
    for name in asks.split(' ') {
        let subject = AskSubject::Resting(world.order(name));
        shown.push_str(&match world.engine.explain_ask(subject, buyer) {
            None => format!("{name} is no ask that rests\n"),
            Some(standing) => format!(
                "{name} at {}: {} asks, {} jobs ahead, best {}, {} ms away, kept by {:?}\n",
                standing.price.ticks(),
                standing.asks_ahead,
                standing.jobs_ahead,
                standing.best.map_or(0, Price::ticks),
                standing.distance.as_millis(),
                standing.filters
            ),
        });
    }
    expected.assert_eq(&shown);
}

/// Shows how a named bid stands.
fn check_bid(script: &str, bid: &str, expected: Expect) {
    let mut world = World::within(Limits::default());
    world.run(script);
    let Some(standing) = world.engine.explain_bid(&BidSubject::Resting(world.order(bid))) else {
        return expected.assert_eq("no bid that rests");
    };
    let mut shown = format!(
        "best {:?}; {} bids, {} jobs ahead; instead {:?}\n",
        standing.best.map(|best| best.price.ticks()),
        standing.bids_ahead,
        standing.jobs_ahead,
        standing.alternative.map(|alternative| alternative.price.ticks()),
    );
    for cell in standing.cells {
        shown.push_str(&format!(
            "{}/{}/{:?}: {:?} free, {:?} busy, {} ms away, kept by {:?}\n",
            u8::from(cell.cell.region),
            cell.cell.tier,
            cell.cell.band,
            cell.displayed.map(Price::ticks),
            cell.busy.map(Price::ticks),
            cell.distance.as_millis(),
            cell.filters
        ));
    }
    expected.assert_eq(&shown);
}

#[test]
fn asks_queue_by_price_then_distance_then_band_then_time() {
    check_asks(
        "island i eu desktop B
         island j us server A
         ask a i 3@10
         ask b j 2@10
         ask c i 1@9
         ask d i 1@10",
        "a b c d e",
        &anybody(),
        expect![[r#"
            a at 10: 1 asks, 1 jobs ahead, best 9, 5 ms away, kept by []
            b at 10: 3 asks, 5 jobs ahead, best 9, 90 ms away, kept by []
            c at 9: 0 asks, 0 jobs ahead, best 9, 5 ms away, kept by []
            d at 10: 2 asks, 4 jobs ahead, best 9, 5 ms away, kept by []
            e is no ask that rests
        "#]],
    );
}

#[test]
fn a_busy_island_a_floor_and_a_limit_are_named() {
    let mut buyer = anybody();
    buyer.eligibility.min_tier = Tier::Desktop;
    buyer.eligibility.min_band = KarmaBand::C;
    buyer.eligibility.regions = RegionSet::from_iter([0, 1].map(region));
    buyer.limit = Some(ticks(12));
    check_asks(
        "island busy eu desktop B slots=1
         island slow eu laptop B
         island poor eu desktop D
         island far ap phone D
         ask a busy 1@9
         ask b busy 2@10
         bid x bob 1@9
         ask c slow 1@10
         ask d poor 1@10
         ask e far 1@14",
        "b c d e",
        &buyer,
        expect![[r#"
            b at 10: 0 asks, 0 jobs ahead, best 0, 5 ms away, kept by [Busy]
            c at 10: 0 asks, 0 jobs ahead, best 0, 5 ms away, kept by [Tier]
            d at 10: 0 asks, 0 jobs ahead, best 0, 5 ms away, kept by [KarmaBand]
            e at 14: 0 asks, 0 jobs ahead, best 0, 200 ms away, kept by [Region, Tier, KarmaBand, TooDear]
        "#]],
    );
}

#[test]
fn a_halt_is_named() {
    check_asks(
        "island i eu desktop B
         ask a i 1@10
         halt",
        "a",
        &anybody(),
        expect![[r#"
            a at 10: 0 asks, 0 jobs ahead, best 0, 5 ms away, kept by [Halted]
        "#]],
    );
}

#[test]
fn an_island_that_the_buyer_excludes_is_named() {
    let mut world = World::within(Limits::default());
    world.run(
        "island i eu desktop B
         ask a i 1@10",
    );
    let mut buyer = anybody();
    buyer.excluded = Excluded::new([world.island("i")]).unwrap();
    check_asks(
        "island i eu desktop B
         ask a i 1@10",
        "a",
        &buyer,
        expect![[r#"
            a at 10: 0 asks, 0 jobs ahead, best 0, 5 ms away, kept by [Excluded]
        "#]],
    );
}

#[test]
fn slots_of_one_island_count_once_ahead() {
    check_asks(
        "island i eu desktop B slots=2
         island j eu desktop B
         ask a i 5@8
         ask b i 5@9
         ask c j 1@10",
        "c",
        &anybody(),
        expect![[r#"
            c at 10: 1 asks, 2 jobs ahead, best 8, 5 ms away, kept by []
        "#]],
    );
}

#[test]
fn a_bid_is_told_cell_by_cell_what_keeps_it() {
    check_bid(
        "island cheap us desktop B
         island busy eu desktop B slots=1
         island slow eu phone B
         island own eu server B owner=alice
         island named eu workstation B
         ask a cheap 1@15
         ask b busy 1@9
         ask c busy 1@9
         bid x bob 1@9
         ask d slow 1@5
         ask e own 1@12
         ask f named 1@5
         bid early carol 2@11 tier=laptop not=named
         bid y alice 1@11 tier=laptop not=named
         bid late carol 1@10 tier=laptop not=named",
        "y",
        expect![[r#"
            best Some(9); 1 bids, 2 jobs ahead; instead None
            0/phone/B: Some(5) free, None busy, 5 ms away, kept by [Tier]
            0/desktop/B: None free, Some(9) busy, 5 ms away, kept by [Busy]
            0/workstation/B: None free, None busy, 5 ms away, kept by [Excluded]
            0/server/B: None free, None busy, 5 ms away, kept by [SameOwner]
            1/desktop/B: Some(15) free, None busy, 90 ms away, kept by [TooDear]
        "#]],
    );
}

#[test]
fn a_bid_whose_sellers_went_away_hears_of_the_nearest() {
    check_bid(
        "island i eu server B
         island j eu phone B
         ask a i 1@10
         ask b j 1@20
         bid y alice 1@5 tier=server
         cancel a",
        "y",
        expect![[r#"
            best None; 0 bids, 0 jobs ahead; instead Some(20)
            0/phone/B: Some(20) free, None busy, 5 ms away, kept by [Tier, TooDear]
        "#]],
    );
}

#[test]
fn what_does_not_rest_or_exist_is_not_explained() {
    let mut world = World::within(Limits::default());
    world.run(
        "island i eu desktop B
         ask a i 1@10
         bid b alice 1@10",
    );
    let cell = CellKey {
        instrument: InstrumentId::new(9),
        region: region(0),
        tier: Tier::Desktop,
        band: KarmaBand::B,
    };
    let price = ticks(10);
    let imagined = AskSubject::Imagined { cell, price };
    assert_eq!(world.engine.explain_ask(imagined, &anybody()), None);
    let nowhere = AskSubject::Imagined {
        cell: CellKey {
            instrument: InstrumentId::new(0),
            region: region(40),
            ..cell
        },
        price,
    };
    assert_eq!(world.engine.explain_ask(nowhere, &anybody()), None);
    let order = BidSubject::Resting(world.order("b"));
    assert_eq!(world.engine.explain_bid(&order), None);
}

/// The account that tries out what was explained: no Island is its own.
const TRIER: AccountId = AccountId::new(77);

/// What a bid for so many jobs on the buyer's terms trades with the ask.
fn traded_with(engine: &Engine, ask: domain::OrderId, buyer: &Buyer, jobs: u64) -> u64 {
    let mut engine = engine.clone();
    let session = engine.sessions().next().unwrap();
    let view = engine.order(ask).unwrap();
    let bid = PlaceBid {
        account: TRIER,
        session,
        client_order_id: ClientOrderId::new(1),
        instrument: view.instrument,
        limit: BidLimit::At(buyer.limit.unwrap()),
        jobs: Jobs::new(u32::try_from(jobs).unwrap()),
        units_max: Units::new(1),
        eligibility: buyer.eligibility,
        latency_value: buyer.latency_value,
        excluded: buyer.excluded.clone(),
        time_in_force: TimeInForce::Ioc,
        self_trade: SelfTradeMode::Skip,
        jobs_min: Jobs::ZERO,
        payload: PayloadDigest::NONE,
    };
    let fund = Fund {
        transfer: TransferId::new(u128::MAX),
        account: TRIER,
        amount: Credits::from_whole(1_000).unwrap(),
    };
    let mut events = Vec::new();
    for command in [Command::Fund(fund), Command::PlaceBid(bid)] {
        let stamped = Stamped {
            sequence: engine.sequence().next(),
            at: engine.now(),
            command,
        };
        engine.apply(&stamped, &mut events);
    }
    events
        .iter()
        .map(|event| match event {
            Event::Traded(trade) if trade.ask == ask => u64::from(trade.jobs.get()),
            _ => 0,
        })
        .sum()
}

#[test]
fn a_bid_meets_an_ask_exactly_after_the_jobs_that_were_said_to_be_ahead() {
    let mut tried = 0;
    for seed in 1..400 {
        let mut random = Random::new(seed);
        let mut engine = Engine::new(Limits::default());
        let mut generator = Generator::new(&mut random);
        let mut now = 1_000_000;
        for _ in 0..60 {
            now += random.below(4_000);
            let stamped = Stamped {
                sequence: engine.sequence().next(),
                at: Timestamp::from_micros(now),
                command: generator.next(&mut random, &engine, now),
            };
            engine.apply(&stamped, &mut Vec::new());
        }
        let mut buyer = anybody();
        buyer.eligibility.home = region(random.pick(&[0, 1, 2]));
        buyer.eligibility.min_tier = random.pick(&[Tier::Phone, Tier::Desktop]);
        buyer.latency_value = LatencyValue::new(random.pick(&[0, 200, 400]));
        buyer.limit = Some(ticks(random.below(6) + 1));
        let asks = engine
            .orders()
            .filter(|order| matches!(order.detail, OrderDetail::Ask(_)));
        for ask in asks.map(|order| order.order).collect::<Vec<_>>() {
            let standing = engine.explain_ask(AskSubject::Resting(ask), &buyer).unwrap();
            let ahead = standing.jobs_ahead;
            let reached = traded_with(&engine, ask, &buyer, ahead + 1);
            // Its slots may all go to asks of the same Island that are ahead of it.
            if standing.filters.is_empty() {
                tried += reached;
            } else {
                assert_eq!(reached, 0, "seed {seed}: {standing:?}");
            }
            assert!(reached <= 1, "seed {seed}: {standing:?}");
            if ahead > 0 {
                assert_eq!(
                    traded_with(&engine, ask, &buyer, ahead),
                    0,
                    "seed {seed}: {standing:?}"
                );
            }
        }
    }
    assert!(tried > 50, "the scripts explained hardly anything: {tried}");
}
