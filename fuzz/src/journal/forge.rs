//! Segments as the documented format has them (decision 0004), made here by other code than the journal's.

use std::path::{Path, PathBuf};

use domain::{Digest, Timestamp};
use matcher::{Command, Stamped};
use sha2::{Digest as _, Sha256};

use crate::journal::memory::Memory;
use crate::journal::{FOLDER, SEGMENT_BYTES};

const RECORDS_START: usize = 512;
const END_MARKER: [u8; 4] = [0xA7, 0x0E, 0xD5, 0x3C];
const HEADER_END: [u8; 4] = [0x5A; 4];

/// A journal before its first record.
pub(super) struct Base {
    memory: Memory,
    segment: PathBuf,
    bytes: Vec<u8>,
    chain: [u8; 32],
}

/// What an input was made into.
pub(super) struct Forged {
    pub(super) segment: Vec<u8>,
    /// How many records come before the first thing that is wrong.
    pub(super) framed: usize,
    /// Their commands, up to the first payload that is any bytes.
    pub(super) readable: Vec<Stamped>,
}

/// What one step of an input puts into the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A record as the journal writes it.
    Whole,
    /// One whose payload is any bytes.
    AnyPayload,
    WrongSequence,
    WrongChain,
    WrongPayloadChecksum,
    WrongHeaderChecksum,
    WrongEncoding,
    WrongSize,
    NoEndMarker,
    FullPadding,
    /// One that says that everything before it was durable.
    Durable,
    Raw,
}

const PARTS: [Part; 16] = [
    Part::Whole,
    Part::Whole,
    Part::Whole,
    Part::Whole,
    Part::Durable,
    Part::AnyPayload,
    Part::WrongSequence,
    Part::WrongChain,
    Part::WrongPayloadChecksum,
    Part::WrongHeaderChecksum,
    Part::WrongEncoding,
    Part::WrongSize,
    Part::NoEndMarker,
    Part::FullPadding,
    Part::Raw,
    Part::Raw,
];

impl Part {
    /// Whether a record so made checks out.
    fn is_sound(self, payload: &[u8]) -> bool {
        match self {
            Self::Whole | Self::AnyPayload | Self::Durable => true,
            // One that ends where the next may begin has no padding.
            Self::FullPadding => (payload.len() + END_MARKER.len()).is_multiple_of(8),
            Self::WrongSequence
            | Self::WrongChain
            | Self::WrongPayloadChecksum
            | Self::WrongHeaderChecksum
            | Self::WrongEncoding
            | Self::WrongSize
            | Self::NoEndMarker
            | Self::Raw => false,
        }
    }
}

impl Base {
    pub(super) fn of(memory: &Memory) -> Self {
        let files = memory.files();
        let is_segment = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "segment");
        let segment = files
            .keys()
            .find(is_segment)
            .expect("a new journal has a segment");
        let genesis = &files[&Path::new(FOLDER).join("journal.json")];
        let genesis: serde_json::Value = serde_json::from_slice(genesis).expect("the genesis is JSON");
        let id = genesis["journal"].as_str().expect("a journal has an id");
        let id = data_encoding::HEXLOWER
            .decode(id.as_bytes())
            .expect("the id is hexadecimal");
        Self {
            memory: memory.clone(),
            segment: segment.clone(),
            bytes: files[segment].clone(),
            chain: *Digest::of(&id).as_bytes(),
        }
    }

    /// The journal with another first segment.
    pub(super) fn with_segment(&self, bytes: Vec<u8>) -> Memory {
        let mut files = self.memory.files();
        files.insert(self.segment.clone(), bytes);
        Memory::of(files)
    }

    pub(super) fn forge(&self, input: &[u8]) -> Forged {
        let mut records = Vec::new();
        let mut readable = Vec::new();
        let (mut framed_count, mut is_sound, mut is_readable) = (0, true, true);
        let mut chain = self.chain;
        let mut sequence = 0;
        let mut rest = input.chunks(4);
        while let Some([choice, size, a, b]) = rest.next().and_then(|step| <[u8; 4]>::try_from(step).ok()) {
            let part = PARTS[usize::from(choice % 16)];
            sequence += 1;
            let stamped = command(sequence, a, b);
            let payload = if part == Part::AnyPayload {
                vec![a; usize::from(size)]
            } else {
                postcard::to_stdvec(&stamped).expect("a command can be written")
            };
            let place = Place { sequence, chain };
            let framed = if part == Part::Raw {
                vec![a; usize::from(size)]
            } else {
                place.frame(part, &payload, size)
            };
            if records.len() + framed.len() > SEGMENT_BYTES - RECORDS_START {
                break;
            }
            chain = place.chain_after(&framed, &payload);
            records.extend_from_slice(&framed);
            is_sound &= part.is_sound(&payload);
            is_readable &= is_sound && part != Part::AnyPayload;
            framed_count += usize::from(is_sound);
            if is_readable {
                readable.push(stamped);
            }
        }
        let mut segment = self.bytes.clone();
        segment[RECORDS_START..RECORDS_START + records.len()].copy_from_slice(&records);
        Forged {
            segment,
            framed: framed_count,
            readable,
        }
    }
}

/// A command of a size that the input chooses: names of regions differ in length.
fn command(sequence: u64, a: u8, b: u8) -> Stamped {
    let command = match a % 4 {
        0 => Command::Tick,
        1 => Command::OpenSession,
        2 => Command::Halt(domain::InstrumentId::new(u32::from(b))),
        _ => Command::Cancel(matcher::Cancel {
            account: domain::AccountId::new(u64::from(b) << 40),
            order: domain::OrderId::new(u64::from(a)),
        }),
    };
    Stamped {
        sequence: domain::Sequence::new(sequence),
        at: Timestamp::from_micros(sequence),
        command,
    }
}

/// Where a record goes.
struct Place {
    sequence: u64,
    chain: [u8; 32],
}

impl Place {
    /// A record with everything right but what the part says.
    fn frame(&self, part: Part, payload: &[u8], wrong: u8) -> Vec<u8> {
        // A wrong value differs from the right one in at least one bit.
        let wrong = wrong | 1;
        let flip = |is_wrong: bool| if is_wrong { u32::from(wrong) } else { 0 };
        let sequence = self.sequence ^ u64::from(flip(part == Part::WrongSequence));
        let durable = if part == Part::Durable {
            self.sequence - 1
        } else {
            0
        };
        let size = u32::try_from(payload.len()).expect("a short payload");
        let encoding = 1 ^ u16::try_from(flip(part == Part::WrongEncoding)).expect("a byte");
        let mut bytes = b"ATLR".to_vec();
        bytes.extend_from_slice(&encoding.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.extend_from_slice(&durable.to_le_bytes());
        bytes.extend_from_slice(&(size ^ flip(part == Part::WrongSize)).to_le_bytes());
        let checksum = crc32c::crc32c(payload) ^ flip(part == Part::WrongPayloadChecksum);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let mut chain = self.link(&bytes, payload);
        chain[31] ^= u8::try_from(flip(part == Part::WrongChain)).expect("a byte");
        bytes.extend_from_slice(&chain);
        let checksum = crc32c::crc32c(&bytes) ^ flip(part == Part::WrongHeaderChecksum);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&HEADER_END);
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(if part == Part::NoEndMarker {
            &[0; 4]
        } else {
            &END_MARKER
        });
        let padding = if part == Part::FullPadding { wrong } else { 0 };
        bytes.resize(bytes.len().next_multiple_of(8), padding);
        bytes
    }

    /// What the next record is linked to.
    fn chain_after(&self, framed: &[u8], payload: &[u8]) -> [u8; 32] {
        match framed.get(..32) {
            Some(header) => self.link(header, payload),
            None => self.chain,
        }
    }

    fn link(&self, header: &[u8], payload: &[u8]) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(self.chain);
        hasher.update(header);
        hasher.update(payload);
        hasher.finalize().into()
    }
}
