//! Halting, and the uncross when matching resumes.

use domain::InstrumentId;
use expect_test::expect;
use matcher::{Command, Event, Limits};

use crate::scenario::{World, check};

#[test]
fn a_halt_lets_orders_rest_and_nothing_trade() {
    check(
        "island i eu desktop B
         ask a i 1@10
         ---
         halt
         bid b alice 1@12
         ask c i 1@9
         bid d bob 1@8 ioc
         bid e bob 1@8 fok
         ask f i 1@8 ioc
         ask g i 1@8 post
         cancel b
         amend a 1",
        expect![[r#"
            0 halted
            b accepted 1@12 reserves 12240
            class 0 created
              class 0 bid 12: 1
            c accepted 1@9 in eu/desktop/B
              eu/desktop/B ask 9: 1
            refused HALTED
            refused HALTED
            refused HALTED
            g accepted 1@8 in eu/desktop/B
              eu/desktop/B ask 8: 1
            b ended 1 cancelled
              class 0 bid 12: 0
            refused NOT_LESS
        "#]],
    );
}

#[test]
fn a_resume_uncrosses_by_limit_then_sequence_at_the_asks_prices() {
    check(
        "island i eu desktop B
         island j us desktop B
         halt
         ask a i 1@10
         ask b j 1@9
         ask c i 1@14
         bid d alice 1@12
         bid e bob 1@15 lv=2000
         bid f carol 1@12
         bid g dave 1@11
         ---
         resume",
        expect![[r#"
            0 resumed
            a-e 1@10 bid takes, left 0-0, lease 1 epoch 0 from e#0
            b-d 1@9 bid takes, left 0-0, lease 2 epoch 0 from d#0
              eu/desktop/B ask 10: 0
              us/desktop/B ask 9: 0
              class 0 bid 12: 1
              class 0 bid 15: 0
        "#]],
    );
}

#[test]
fn an_uncross_obeys_the_bids_self_trade_mode() {
    check(
        "island i eu desktop B owner=alice
         island j eu desktop B
         halt
         ask a i 1@10
         ask b j 1@11
         bid c alice 1@12 mode=oldest
         ---
         resume",
        expect![[r#"
            0 resumed
            a ended 1 self-trade
            b-c 1@11 bid takes, left 0-0, lease 1 epoch 0 from c#0
              eu/desktop/B ask 10: 0
              eu/desktop/B ask 11: 0
              class 0 bid 12: 0
        "#]],
    );
}

#[test]
fn an_uncross_counts_slots() {
    check(
        "island i eu desktop B slots=1
         halt
         ask a i 2@10
         ask b i 2@11
         bid c alice 2@12
         bid d bob 1@12
         ---
         resume
         release 1 i",
        expect![[r#"
            0 resumed
            a-c 1@10 bid takes, left 1-1, lease 1 epoch 0 from c#0
              eu/desktop/B ask 10: 0
              eu/desktop/B ask 11: 0
              class 0 bid 12: 2
            i has 1 of 1 slots free
            a-c 1@12 ask takes, left 0-0, lease 2 epoch 0 from c#1
              class 0 bid 12: 1
        "#]],
    );
}

#[test]
fn slots_that_come_back_during_a_halt_only_show() {
    check(
        "island i eu desktop B slots=1
         ask a i 2@10
         bid b alice 1@10
         bid c alice 1@10
         halt
         ---
         release 1 i
         resume",
        expect![[r#"
            i has 1 of 1 slots free
              eu/desktop/B ask 10: 1
            0 resumed
            a-c 1@10 bid takes, left 0-0, lease 2 epoch 0 from c#0
              eu/desktop/B ask 10: 0
              class 0 bid 10: 0
        "#]],
    );
}

#[test]
fn a_halt_stops_one_instrument_only() {
    check(
        "island i eu desktop B slots=1
         ask a i 1@10
         ask b i 1@10 in=n
         halt
         ---
         bid c alice 1@10 in=n
         bid d alice 1@10
         release 1 i
         resume
         halt
         halt",
        expect![[r#"
            c accepted 1@10 reserves 10200
            b-c 1@10 bid takes, left 0-0, lease 1 epoch 0 from c#0
              eu/desktop/B ask 10: 0
              n/eu/desktop/B ask 10: 0
            d accepted 1@10 reserves 10200
            class 0 created
              class 0 bid 10: 1
            i has 1 of 1 slots free
              eu/desktop/B ask 10: 1
            0 resumed
            a-d 1@10 bid takes, left 0-0, lease 2 epoch 0 from d#0
              eu/desktop/B ask 10: 0
              class 0 bid 10: 0
            0 halted
            0 halted
        "#]],
    );
}

#[test]
fn a_price_band_refuses_bids_above_it_and_asks_below_it() {
    check(
        "island i eu desktop B
         ask a i 1@10
         price-band 8 12
         ---
         bid b alice 1@13
         bid c alice 1@7
         ask d i 1@7
         ask e i 1@14
         bid f bob 1@12
         price-band off
         bid g alice 1@13
         ask h i 1@7",
        expect![[r#"
            refused OUTSIDE_PRICE_BAND
            c accepted 1@7 reserves 7140
            class 0 created
              class 0 bid 7: 1
            refused OUTSIDE_PRICE_BAND
            e accepted 1@14 in eu/desktop/B
              eu/desktop/B ask 14: 1
            f accepted 1@12 reserves 12240
            a-f 1@10 bid takes, left 0-0, lease 1 epoch 0 from f#0
              eu/desktop/B ask 10: 0
            0 has no price band
            g accepted 1@13 reserves 13260
              class 0 bid 13: 1
            h accepted 1@7 in eu/desktop/B
            h-g 1@13 ask takes, left 0-0, lease 2 epoch 0 from g#0
              class 0 bid 13: 0
        "#]],
    );
}

#[test]
fn a_protection_price_stops_at_the_band() {
    check(
        "island i eu desktop B
         island j eu desktop B slots=1
         ask a i 1@10
         ask b j 1@13
         price-band 1 12
         ---
         bid c alice 2@market ioc",
        expect![[r#"
            c accepted 2@12 reserves 24480
            a-c 1@10 bid takes, left 0-1, lease 1 epoch 0 from c#0
            c ended 1 immediate
              eu/desktop/B ask 10: 0
        "#]],
    );
}

#[test]
fn what_an_uncross_would_trade_is_known_before_and_is_what_it_trades() {
    let mut world = World::within(Limits::default());
    world.run(
        "island i eu desktop B slots=2
         island j us desktop B
         halt
         ask a i 3@10
         ask b j 1@9
         ask c i 1@14
         bid d alice 2@12
         bid e bob 2@15
         bid f carol 1@8",
    );
    let instrument = InstrumentId::new(0);
    let before = world.engine.state_hash();
    let volumes = world.engine.indicative_volume(instrument);
    assert_eq!(world.engine.state_hash(), before, "a question changes nothing");
    let shown: Vec<_> = volumes
        .iter()
        .map(|volume| {
            let region = u8::from(volume.cell.region);
            (region, volume.jobs, volume.lowest.ticks(), volume.highest.ticks())
        })
        .collect();
    assert_eq!(shown, [(0, 2, 10, 10), (1, 1, 9, 9)]);
    let events = world.apply(Command::Resume(instrument));
    let traded: u64 = events
        .iter()
        .map(|event| match event {
            Event::Traded(trade) => u64::from(trade.jobs.get()),
            _ => 0,
        })
        .sum();
    assert_eq!(traded, volumes.iter().map(|volume| volume.jobs).sum::<u64>());
    assert_eq!(world.engine.indicative_volume(instrument), []);
}
