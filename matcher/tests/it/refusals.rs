//! Refusals are values in a fixed order. Reasons that other modules meet on their way are not repeated here.

use domain::{InstrumentId, RegionTable, RoundTrip};
use expect_test::expect;
use matcher::{Command, Event, Limits, ListInstrument, RejectReason};

use crate::scenario::{World, check, specification};

#[test]
fn an_unknown_instrument_comes_before_all_else() {
    check(
        "bid b alice 0@10 in=z session=nowhere
         ask a i 0@10 in=z
         tier i server in=z
         halt in=z
         resume in=z",
        expect![[r#"
            refused UNKNOWN_INSTRUMENT
            refused UNKNOWN_INSTRUMENT
            refused UNKNOWN_INSTRUMENT
            refused UNKNOWN_INSTRUMENT
            refused UNKNOWN_INSTRUMENT
        "#]],
    );
}

#[test]
fn then_the_session() {
    check(
        "bid b alice 0@10 session=nowhere home=mars
         ask a i 0@10",
        expect![[r#"
            refused UNKNOWN_SESSION
            refused UNKNOWN_SESSION
        "#]],
    );
}

#[test]
fn then_the_island_and_its_tier() {
    check(
        "island i eu desktop B
         island j eu desktop B
         tier i none
         ---
         ask a k 0@10 session=gate
         ask a j 0@10 session=i
         ask a i 0@10
         slots k 1
         band k A
         tier k server",
        expect![[r#"
            refused UNKNOWN_ISLAND
            refused UNKNOWN_ISLAND
            refused NOT_QUOTABLE
            refused UNKNOWN_ISLAND
            refused UNKNOWN_ISLAND
            refused UNKNOWN_ISLAND
        "#]],
    );
}

#[test]
fn then_the_region() {
    check(
        "bid b alice 0@10 home=mars regions=
         bid c alice 0@10 regions=mars
         bid d alice 0@10 regions=",
        expect![[r#"
            refused UNKNOWN_REGION
            refused UNKNOWN_REGION
            refused NO_REGION
        "#]],
    );
}

#[test]
fn then_quantity_units_time_in_force_and_deadline() {
    check(
        "island i eu desktop B
         ---
         bid b alice 0@10 units=0
         bid c alice 1000001@10 units=0
         bid d alice 1@10 units=0 gtd=0
         bid e alice 1@10 units=1099511627777 gtd=0
         ask a i 0@10 fok
         ask f i 1000001@10 fok
         ask g i 1@10 fok
         ask h i 1@10 ioc post
         ask j i 1@10 gtd=0
         bid k alice 1@10 gtd=0 id=1",
        expect![[r#"
            refused INVALID_QUANTITY
            refused INVALID_QUANTITY
            refused INVALID_UNITS
            refused INVALID_UNITS
            refused INVALID_QUANTITY
            refused INVALID_QUANTITY
            refused INVALID_TIME_IN_FORCE
            refused INVALID_TIME_IN_FORCE
            refused DEADLINE_PASSED
            refused DEADLINE_PASSED
        "#]],
    );
}

#[test]
fn then_the_name_and_who_could_serve() {
    check(
        "island i eu desktop B
         ask a i 1@10 id=5 in=n
         bid b alice 1@5 id=6 in=n
         ---
         bid c alice 1@10 id=6
         ask d i 1@10 id=5
         bid e alice 1@10 id=7
         halt
         bid f alice 1@10 ioc id=7",
        expect![[r#"
            refused DUPLICATE_CLIENT_ORDER_ID
            refused DUPLICATE_CLIENT_ORDER_ID
            refused UNSERVABLE
            0 halted
            refused UNSERVABLE
        "#]],
    );
}

#[test]
fn then_the_halt_the_range_and_the_money() {
    check(
        "island i eu desktop B
         ask a i 1@10
         halt
         ---
         bid b poor 1000000@1000000 ioc units=1000000000 unfunded=1
         bid c poor 1000000@1000000 units=1000000000 unfunded=1
         bid d poor 9@10 unfunded=1
         bid e poor 9@10 fok unfunded=1
         ask f i 1@10 ioc
         resume
         bid g poor 9@10 fok unfunded=1
         bid h alice 9@10 fok",
        expect![[r#"
            refused HALTED
            refused OVERFLOW
            refused INSUFFICIENT_BUYING_POWER, short of 91800
            refused HALTED
            refused HALTED
            0 resumed
            refused INSUFFICIENT_BUYING_POWER, short of 91800
            refused NOT_FILLED
        "#]],
    );
}

#[test]
fn an_unservable_bid_names_the_nearest_cell_that_quotes() {
    check(
        "island i ap desktop B
         island j us desktop B
         island k eu laptop B
         ask a i 1@10
         ask b j 1@20
         ask c k 1@5
         ---
         # Farther away rather than slower, and the nearer of those.
         bid d alice 1@50 regions=eu tier=desktop
         # One thing given up rather than two.
         bid e alice 1@50 regions=eu tier=server
         bid f alice 1@50 regions=ap tier=server
         bid g alice 1@50 regions=eu not=k
         bid h alice 1@50 regions=eu tier=desktop band=A",
        expect![[r#"
            refused UNSERVABLE, nearest us/desktop/B@20
            refused UNSERVABLE, nearest eu/laptop/B@5
            refused UNSERVABLE, nearest ap/desktop/B@10
            refused UNSERVABLE, nearest us/desktop/B@20
            refused UNSERVABLE, nearest us/desktop/B@20
        "#]],
    );
}

#[test]
fn nobody_quotes_at_all() {
    check(
        "bid b alice 1@10
         bid c alice 1@market",
        expect![[r#"
            refused UNSERVABLE
            refused UNSERVABLE
        "#]],
    );
}

#[test]
fn busy_or_too_dear_is_servable() {
    check(
        "island i eu desktop B slots=1
         ask a i 2@10
         bid x bob 1@10
         ---
         bid b alice 1@10
         bid c alice 1@1",
        expect![[r#"
            b accepted 1@10 reserves 10200
            class 0 created
              class 0 bid 10: 1
            c accepted 1@1 reserves 1020
              class 0 bid 1: 1
        "#]],
    );
}

#[test]
fn a_region_table_only_grows() {
    let mut world = World::within(Limits::default());
    let one = RegionTable::new(vec!["eu".to_owned()], vec![vec![RoundTrip::from_millis(1)]]).unwrap();
    assert_eq!(
        reason(world.apply(Command::SetRegions(one))),
        Some(RejectReason::RegionsConflict)
    );
    let codes = ["us", "eu", "ap"].map(str::to_owned).to_vec();
    let moved = RegionTable::new(codes, vec![vec![RoundTrip::from_millis(1); 3]; 3]).unwrap();
    assert_eq!(
        reason(world.apply(Command::SetRegions(moved))),
        Some(RejectReason::RegionsConflict)
    );
    let codes = ["eu", "us", "ap", "sa"].map(str::to_owned).to_vec();
    let grown = RegionTable::new(codes, vec![vec![RoundTrip::from_millis(1); 4]; 4]).unwrap();
    assert_eq!(world.apply(Command::SetRegions(grown)), [Event::RegionsSet]);
}

#[test]
fn instruments_are_listed_in_order_and_bounded() {
    let mut world = World::within(Limits {
        instruments_max: 3,
        ..Limits::default()
    });
    let list = |number| {
        Command::ListInstrument(ListInstrument {
            instrument: InstrumentId::new(number),
            specification: specification(),
        })
    };
    let refused = Some(RejectReason::InstrumentOutOfOrder);
    assert_eq!(reason(world.apply(list(3))), refused);
    assert_eq!(reason(world.apply(list(1))), refused);
    assert_eq!(reason(world.apply(list(2))), None);
    assert_eq!(reason(world.apply(list(3))), refused);
}

#[test]
fn every_reason_has_its_own_code() {
    let codes: std::collections::BTreeSet<&str> = REASONS.iter().map(|reason| reason.code()).collect();
    assert_eq!(codes.len(), REASONS.len());
    assert!(REASONS.is_sorted());
}

const REASONS: [RejectReason; 30] = [
    RejectReason::RegionsConflict,
    RejectReason::InstrumentOutOfOrder,
    RejectReason::UnknownInstrument,
    RejectReason::UnknownSession,
    RejectReason::UnknownIsland,
    RejectReason::NotQuotable,
    RejectReason::UnknownRegion,
    RejectReason::NoRegion,
    RejectReason::InvalidQuantity,
    RejectReason::InvalidUnits,
    RejectReason::InvalidTimeInForce,
    RejectReason::DeadlinePassed,
    RejectReason::DuplicateClientOrderId,
    RejectReason::TooManyOrders,
    RejectReason::OrderToTrade,
    RejectReason::TooManyClasses,
    RejectReason::OutsidePriceBand,
    RejectReason::Unservable,
    RejectReason::Halted,
    RejectReason::Overflow,
    RejectReason::InsufficientBuyingPower,
    RejectReason::NotFilled,
    RejectReason::WouldTrade,
    RejectReason::UnknownOrder,
    RejectReason::NotLess,
    RejectReason::UnknownLease,
    RejectReason::NoSlot,
    RejectReason::OverBilled,
    RejectReason::TooManyFailovers,
    RejectReason::InvalidAmount,
];

fn reason(events: Vec<Event>) -> Option<RejectReason> {
    events.into_iter().find_map(|event| match event {
        Event::Rejected(rejected) => Some(rejected.reason),
        _ => None,
    })
}
