//! Random scripts through the engine and the naive book, compared event by event.
//!
//! The universe is small on purpose: few regions, tiers, prices and accounts, so that orders collide; bounds are low,
//! so that they are reached. After each command the engine is audited, its buying power compared, and a refusal must
//! have changed nothing; now and then the engine is replaced by its own snapshot. A failure prints its seed.
//!
//! `cargo xtask test --long matcher --seed 7 --count 100000` runs a longer campaign.

mod generate;

use domain::Timestamp;
use matcher::{Command, Engine, Event, Limits, Stamped};

pub(crate) use crate::campaign::generate::{Generator, Random};
use crate::naive_book::NaiveBook;

/// Scripts of a normal run: two million commands, half a minute of one core.
const SCRIPTS: u64 = 21_600;

/// Commands in one script, set-up not counted.
const COMMANDS: u32 = 60;

#[expect(
    clippy::disallowed_methods,
    reason = "a longer campaign is asked for through the environment"
)]
fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

/// What a campaign reached, so that a generator that stops reaching something is noticed.
#[derive(Default)]
struct Reached {
    commands: u64,
    trades: u64,
    refusals: std::collections::BTreeSet<&'static str>,
}

#[test]
fn the_engine_does_what_the_naive_book_does() {
    let first = asked("ATOLL_LONG_SEED", 1);
    let mut reached = Reached::default();
    for seed in first..first + asked("ATOLL_LONG_COUNT", SCRIPTS) {
        run(seed, &mut reached);
    }
    println!(
        "{} commands, {} trades, {} kinds of refusal",
        reached.commands,
        reached.trades,
        reached.refusals.len()
    );
    assert!(
        reached.commands >= 2_000_000 || asked("ATOLL_LONG_COUNT", SCRIPTS) < SCRIPTS,
        "a normal run is two million commands"
    );
    assert!(reached.trades * 20 > reached.commands, "the scripts hardly trade");
    assert!(
        reached.refusals.len() >= 27,
        "some reasons were never met: {:?}",
        reached.refusals
    );
}

fn run(seed: u64, reached: &mut Reached) {
    let mut random = Random::new(seed);
    let limits = limits(&mut random);
    let mut engine = Engine::new(limits);
    // Hears a tick in the place of each refused command: a refusal leaves what a tick would have left.
    let mut undisturbed = Engine::new(limits);
    let mut naive = NaiveBook::new(limits);
    let mut generator = Generator::new(&mut random);
    // A minute ends on the way: what is counted by the minute begins anew.
    let mut now = 58_500_000;
    let mut step = 0;
    while step < COMMANDS || generator.is_setting_up() {
        if !generator.is_setting_up() {
            step += 1;
            if random.one_in(2) {
                now += random.below(15_000);
            }
        }
        let stamped = Stamped {
            sequence: engine.sequence().next(),
            at: Timestamp::from_micros(now),
            command: generator.next(&mut random, &engine, now),
        };
        let mut events = Vec::new();
        engine.apply(&stamped, &mut events);
        let expected = naive.apply(&stamped);
        assert_eq!(
            events, expected,
            "seed {seed}, step {step}: {:?}",
            stamped.command
        );
        check(
            &engine,
            &naive,
            &format!("seed {seed}, step {step}: {:?}", stamped.command),
        );
        let mut heard = stamped;
        for event in &events {
            reached.trades += u64::from(matches!(event, Event::Traded(_)));
            if let Event::Rejected(rejected) = event {
                reached.refusals.insert(rejected.reason.code());
                heard.command = Command::Tick;
            }
        }
        undisturbed.apply(&heard, &mut events);
        reached.commands += 1;
        if random.one_in(9) {
            let restored = Engine::restore(&engine.snapshot()).unwrap();
            assert_eq!(
                restored.state_hash(),
                engine.state_hash(),
                "seed {seed}, step {step}"
            );
            engine = restored;
        }
        assert!(
            step % 8 != 0 || undisturbed.state_hash() == engine.state_hash(),
            "seed {seed}, step {step}: a refusal changed something"
        );
    }
    assert_eq!(undisturbed.state_hash(), engine.state_hash(), "seed {seed}");
}

/// Low enough that scripts reach them.
pub(crate) fn limits(random: &mut Random) -> Limits {
    let mut limits = Limits {
        client_id_kept: std::time::Duration::from_millis(60),
        ..Limits::default()
    };
    if random.one_in(2) {
        limits.orders_per_account_max = 5;
        limits.client_ids_per_account_max = 14;
        limits.classes_per_instrument_max = 2;
        limits.transfers_per_account_max = 3;
    }
    if random.one_in(4) {
        limits.free_messages_per_minute = 9;
        limits.messages_per_trade = 2;
    }
    limits
}

/// The engine is sound, and every account has what the naive book gives it.
fn check(engine: &Engine, naive: &NaiveBook, at: &str) {
    if let Err(error) = engine.audit() {
        panic!("{at}: {error}");
    }
    let ours: Vec<_> = engine
        .accounts()
        .map(|(account, power)| (account, power.available.as_nano(), power.reserved.as_nano()))
        .collect();
    let theirs: Vec<_> = naive
        .accounts()
        .map(|(id, account)| (id, account.available, account.reserved))
        .collect();
    assert_eq!(ours, theirs, "{at}");
}
