//! Snapshots that were cut, damaged or made up.

use domain::{Credits, Digest, Price, UNITS_MAX, Units, fee_on};
use matcher::{Command, Engine, Limits, SnapshotError, Stamped};

use crate::campaign::{Generator, Random};
use crate::journals::{journal, limits};
use crate::scenario::World;

const HEADER_SIZE: usize = 8 + 4 + 8 + 32;

fn engine(seed: u64) -> Engine {
    let mut engine = Engine::new(limits());
    for (stamped, _) in journal(seed, 110) {
        engine.apply(&stamped, &mut Vec::new());
    }
    engine
}

/// A snapshot around a body, with a header that vouches for it.
fn vouched(body: &[u8]) -> Vec<u8> {
    let mut bytes = Engine::new(Limits::default()).snapshot()[..12].to_vec();
    bytes.extend_from_slice(&u64::try_from(body.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(Digest::of(body).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn an_empty_engine_comes_back() {
    let engine = Engine::new(Limits::default());
    let restored = Engine::restore(&engine.snapshot()).unwrap();
    assert_eq!(restored.state_hash(), engine.state_hash());
}

#[test]
fn every_cut_is_seen() {
    let snapshot = engine(1).snapshot();
    for size in 0..snapshot.len() {
        assert!(Engine::restore(&snapshot[..size]).is_err(), "{size}");
    }
    let longer = [snapshot.as_slice(), &[0]].concat();
    assert_eq!(Engine::restore(&longer).err(), Some(SnapshotError::Truncated));
}

#[test]
fn every_flipped_bit_is_seen() {
    let snapshot = engine(1).snapshot();
    for position in 0..snapshot.len() {
        for bit in 0..8 {
            let mut damaged = snapshot.clone();
            damaged[position] ^= 1 << bit;
            assert!(Engine::restore(&damaged).is_err(), "bit {bit} of {position}");
        }
    }
}

#[test]
fn each_part_of_the_header_has_its_error() {
    let snapshot = engine(1).snapshot();
    let with = |position: usize| {
        let mut damaged = snapshot.clone();
        damaged[position] ^= 1;
        Engine::restore(&damaged).err()
    };
    assert_eq!(with(0), Some(SnapshotError::Magic));
    assert_eq!(with(8), Some(SnapshotError::Version { found: 2 }));
    assert_eq!(with(12), Some(SnapshotError::Truncated));
    assert_eq!(with(20), Some(SnapshotError::Digest));
    assert_eq!(with(HEADER_SIZE), Some(SnapshotError::Digest));
    assert_eq!(
        Engine::restore(&vouched(&[])).err(),
        Some(SnapshotError::Malformed)
    );
}

/// Whoever can write the digest can write anything: what is let in must still be a sound engine that goes on.
#[test]
fn a_forged_snapshot_is_refused_or_sound() {
    let mut random = Random::new(5);
    let (mut refused, mut accepted) = (0, 0);
    for seed in 0..6 {
        let body = engine(seed).snapshot()[HEADER_SIZE..].to_vec();
        for _ in 0..400 {
            let forged = forge(&body, &mut random);
            let Ok(mut engine) = Engine::restore(&vouched(&forged)) else {
                refused += 1;
                continue;
            };
            accepted += 1;
            go_on(&mut engine, &mut random);
        }
    }
    assert!(refused > accepted, "{refused} refused, {accepted} accepted");
}

#[test]
fn a_length_beyond_the_bytes_is_refused_before_it_is_believed() {
    let body = engine(2).snapshot()[HEADER_SIZE..].to_vec();
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    for position in 0..body.len() {
        let forged = [&body[..position], &huge, &body[position + 1..]].concat();
        // Whatever that number was, no memory is asked for on its word; the audit judges what decodes.
        let _ = Engine::restore(&vouched(&forged));
    }
}

/// What one resting bid of four jobs says in a snapshot: its work, and what it reserves for each job.
struct RestingBid {
    body: Vec<u8>,
    units: u64,
    reserved: i64,
}

impl RestingBid {
    fn new() -> Self {
        let mut world = World::within(Limits::default());
        let shown =
            world.run("island i eu desktop B slots=2 owner=o\n ask a i 1@10\n bid b alice 4@7 units=123457");
        assert!(shown.contains("b accepted 4@7"), "{shown}");
        let units = Units::new(123_457);
        let charge = Price::new(7_000).unwrap().cost_of(units).unwrap();
        Self {
            body: world.engine.snapshot()[HEADER_SIZE..].to_vec(),
            units: units.get(),
            reserved: charge.checked_add(fee_on(charge)).map(Credits::as_nano).unwrap(),
        }
    }

    /// What is said of the snapshot in which the bid is of other work, or reserves something else.
    fn with(&self, units: u64, reserved: i64) -> Option<SnapshotError> {
        let forged = replaced(&self.body, &varint(self.units), &varint(units));
        let forged = replaced(&forged, &varint(zigzag(self.reserved)), &varint(zigzag(reserved)));
        Engine::restore(&vouched(&forged)).err()
    }
}

fn cannot_be(what: &str) -> Option<SnapshotError> {
    Some(SnapshotError::Inconsistent { what: what.into() })
}

#[test]
fn a_bid_of_more_work_than_a_job_may_be_is_refused() {
    let bid = RestingBid::new();
    assert_eq!(bid.with(bid.units, bid.reserved), None);
    for units in [UNITS_MAX + 1, 1 << 48, u64::MAX] {
        assert_eq!(
            bid.with(units, bid.reserved),
            cannot_be("a bid's work"),
            "{units}"
        );
    }
    // As much as a job may be is no fault of its own, but is not what was reserved for.
    assert_eq!(
        bid.with(UNITS_MAX, bid.reserved),
        cannot_be("a bid's reservation")
    );
}

#[test]
fn a_bid_whose_reservation_does_not_follow_from_its_limit_is_refused() {
    let bid = RestingBid::new();
    let wrong = [
        bid.reserved - 1,
        bid.reserved + 1,
        0,
        -1,
        -bid.reserved,
        i64::MAX,
        i64::MIN,
    ];
    for reserved in wrong {
        let refused = bid.with(bid.units, reserved);
        assert_eq!(refused, cannot_be("a bid's reservation"), "{reserved}");
    }
    // A reservation that is enough does not vouch for other work.
    for units in [0, bid.units - 1_000, bid.units + 1_000] {
        let refused = bid.with(units, bid.reserved);
        assert_eq!(refused, cannot_be("a bid's reservation"), "{units}");
    }
}

/// Puts bytes in the place of others, which are there once.
fn replaced(body: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut places = (0..body.len()).filter(|start| body[*start..].starts_with(old));
    let start = places.next().unwrap();
    assert_eq!(places.next(), None, "the bytes tell nothing else");
    [&body[..start], new, &body[start + old.len()..]].concat()
}

/// A number as postcard writes it: seven bits a byte, the lowest first.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

/// A signed number as postcard makes it an unsigned one: small ones stay small.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// Changes a byte or two, or takes a piece out, or doubles one.
fn forge(body: &[u8], random: &mut Random) -> Vec<u8> {
    let mut forged = body.to_vec();
    let at = |random: &mut Random| {
        let count = u64::try_from(body.len()).unwrap();
        usize::try_from(random.below(count)).unwrap()
    };
    match random.below(4) {
        0 => {
            let position = at(random);
            forged[position] ^= 1 << random.below(8);
        }
        1 => {
            for _ in 0..2 {
                let position = at(random);
                forged[position] = u8::try_from(random.below(256)).unwrap();
            }
        }
        2 => {
            forged.remove(at(random));
        }
        _ => {
            let position = at(random);
            forged.insert(position, body[position]);
        }
    }
    forged
}

/// Some more commands, on an engine that was let in.
fn go_on(engine: &mut Engine, random: &mut Random) {
    let mut generator = Generator::new(random);
    let mut now = engine.now().as_micros();
    for _ in 0..40 {
        now = now.saturating_add(random.below(30_000));
        let command = generator.next(random, engine, now);
        let stamped = Stamped {
            sequence: engine.sequence().next(),
            at: domain::Timestamp::from_micros(now),
            command,
        };
        engine.apply(&stamped, &mut Vec::new());
        engine.audit().unwrap();
    }
    let stamped = Stamped {
        sequence: engine.sequence().next(),
        at: domain::Timestamp::MAX,
        command: Command::LoseSessions(matcher::LoseSessions::All),
    };
    engine.apply(&stamped, &mut Vec::new());
    engine.audit().unwrap();
    assert_eq!(engine.orders().count() + engine.leases().count(), 0);
}
