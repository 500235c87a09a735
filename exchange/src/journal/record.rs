//! One record: a header with its own checksum, an encoded command, an end marker.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `ATLR` |
//! | 4 | 2 | encoding of the payload: 1, postcard of `matcher::Stamped` |
//! | 6 | 2 | zero |
//! | 8 | 8 | sequence |
//! | 16 | 8 | the last sequence that was durable when this was written |
//! | 24 | 4 | size of the payload |
//! | 28 | 4 | CRC-32C of the payload |
//! | 32 | 32 | chain: SHA-256 of the chain before, bytes 0 to 31 of this header, and the payload |
//! | 64 | 4 | CRC-32C of bytes 0 to 63 |
//! | 68 | 4 | `5A 5A 5A 5A` |
//! | 72 | | payload |
//! | | 4 | `A7 0E D5 3C` |
//!
//! Numbers are little-endian. The next record begins at the next multiple of eight; the bytes between are zero, as is
//! everything after the last record, from before the segment was used.
//!
//! A record that does not check out is *torn* when the zeros show through (a whole sector of it, or its last byte)
//! and no later record says that it was durable. A disk writes whole sectors, in any order, so this is all that a
//! crash can leave. Everything else is *damage*.

use domain::{Digest, Sequence};
use sha2::{Digest as _, Sha256};

use super::batch::PAYLOAD_BYTES_MAX;

pub(super) const HEADER_SIZE: usize = 72;
const MARKER: [u8; 4] = [0xA7, 0x0E, 0xD5, 0x3C];
const ALIGNMENT: usize = 8;
/// The least that a disk writes whole.
const SECTOR: usize = 512;
const MAGIC: &[u8; 4] = b"ATLR";
const HEADER_END: [u8; 4] = [0x5A; 4];
const ENCODING: u16 = 1;
const DIGEST_SIZE: usize = 32;
/// What is put together and digested in one piece, which costs less than three: all but the largest commands.
const LINKED_AT_ONCE: usize = 512;

/// What lies at a place where a record may begin.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// The record that was expected.
    Record {
        payload: &'a [u8],
        chain: Digest,
        /// Where the next one begins.
        next: usize,
    },
    /// Zeros to the end: nothing was written here.
    End,
    /// What a crash left of records that were not durable.
    Torn,
    /// What no crash leaves.
    Damaged { what: &'static str },
}

/// Appends a record to `bytes` and returns the chain after it.
pub(super) fn frame(
    bytes: &mut Vec<u8>,
    sequence: Sequence,
    durable: Sequence,
    chain: Digest,
    payload: &[u8],
) -> Digest {
    let start = bytes.len();
    let size = u32::try_from(payload.len()).expect("a payload is at most 64 KiB");
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&ENCODING.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&sequence.get().to_le_bytes());
    bytes.extend_from_slice(&durable.get().to_le_bytes());
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let chain = link(chain, &bytes[start..], payload);
    bytes.extend_from_slice(chain.as_bytes());
    let checksum = crc32c::crc32c(&bytes[start..]);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(&HEADER_END);
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&MARKER);
    bytes.resize(start + (bytes.len() - start).next_multiple_of(ALIGNMENT), 0);
    chain
}

/// What lies at `offset` of a segment, where the record after `chain` is expected.
pub(super) fn find(segment: &[u8], offset: usize, expected: Sequence, chain: Digest) -> Found<'_> {
    let rest = segment.get(offset..).unwrap_or_default();
    if rest.iter().all(|byte| *byte == 0) {
        return Found::End;
    }
    match check(rest, expected, chain) {
        Ok((payload, chain, size)) => Found::Record {
            payload,
            chain,
            next: offset + size.next_multiple_of(ALIGNMENT),
        },
        Err(bad) if is_durable_later(rest, expected) || !shows_zeros(segment, offset, bad.size) => {
            Found::Damaged { what: bad.what }
        }
        Err(_) => Found::Torn,
    }
}

struct Bad {
    what: &'static str,
    /// How far the record is known to reach.
    size: usize,
}

struct Header {
    sequence: u64,
    durable: u64,
    size: usize,
    checksum: u32,
    chain: [u8; 32],
}

fn check(rest: &[u8], expected: Sequence, chain: Digest) -> Result<(&[u8], Digest, usize), Bad> {
    let Some(header) = header(rest) else {
        return Err(Bad {
            what: "its header's checksum does not match",
            size: HEADER_SIZE,
        });
    };
    // A header that checks out was written as a whole, so what it says is no matter of a crash.
    let never_torn = |what| Bad { what, size: 0 };
    if header.sequence != expected.get() {
        return Err(never_torn("another record is in its place"));
    }
    if header.size > PAYLOAD_BYTES_MAX {
        return Err(never_torn("it is larger than a record may be"));
    }
    if u16::from_le_bytes([rest[4], rest[5]]) != ENCODING {
        return Err(never_torn("its encoding is not known to this program"));
    }
    let end = HEADER_SIZE + header.size;
    let size = end + MARKER.len();
    let Some(body) = rest.get(HEADER_SIZE..size) else {
        return Err(never_torn("it reaches beyond its segment"));
    };
    let (payload, marker) = body.split_at(header.size);
    if marker != MARKER {
        return Err(Bad {
            what: "its end marker is missing",
            size,
        });
    }
    if crc32c::crc32c(payload) != header.checksum {
        return Err(Bad {
            what: "its payload's checksum does not match",
            size,
        });
    }
    // Padding is zero before and after it is written, so no crash makes it anything else.
    let padding = rest
        .get(size..size.next_multiple_of(ALIGNMENT))
        .unwrap_or_default();
    if padding.iter().any(|byte| *byte != 0) {
        return Err(never_torn("the padding after it is not zero"));
    }
    let chain = link(chain, &rest[..32], payload);
    if *chain.as_bytes() != header.chain {
        return Err(never_torn("it does not follow from the records before it"));
    }
    Ok((payload, chain, size))
}

fn header(rest: &[u8]) -> Option<Header> {
    let bytes = rest.get(..HEADER_SIZE)?;
    let checksum = u32::from_le_bytes(array(bytes, 64));
    if &bytes[..4] != MAGIC || bytes[68..72] != HEADER_END || crc32c::crc32c(&bytes[..64]) != checksum {
        return None;
    }
    Some(Header {
        sequence: u64::from_le_bytes(array(bytes, 8)),
        durable: u64::from_le_bytes(array(bytes, 16)),
        size: usize::try_from(u32::from_le_bytes(array(bytes, 24))).unwrap_or(usize::MAX),
        checksum: u32::from_le_bytes(array(bytes, 28)),
        chain: array(bytes, 32),
    })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the range has N bytes")
}

fn link(chain: Digest, header: &[u8], payload: &[u8]) -> Digest {
    let mut linked = [0; LINKED_AT_ONCE];
    let size = DIGEST_SIZE + header.len() + payload.len();
    if let Some(linked) = linked.get_mut(..size) {
        linked[..DIGEST_SIZE].copy_from_slice(chain.as_bytes());
        linked[DIGEST_SIZE..][..header.len()].copy_from_slice(header);
        linked[DIGEST_SIZE + header.len()..].copy_from_slice(payload);
        return Digest::new(Sha256::digest(linked).into());
    }
    let mut hasher = Sha256::new();
    hasher.update(chain.as_bytes());
    hasher.update(header);
    hasher.update(payload);
    Digest::new(hasher.finalize().into())
}

/// Whether a later record was written when the expected one was known to be durable.
fn is_durable_later(rest: &[u8], expected: Sequence) -> bool {
    (ALIGNMENT..rest.len())
        .step_by(ALIGNMENT)
        .filter_map(|at| header(&rest[at..]))
        .any(|header| header.durable >= expected.get())
}

/// Whether the zeros written beforehand show in the record's place.
fn shows_zeros(segment: &[u8], offset: usize, size: usize) -> bool {
    let end = (offset + size).min(segment.len());
    if size == 0 || offset >= end {
        return false;
    }
    let mut start = offset;
    while start < end {
        let sector_end = (start + 1).next_multiple_of(SECTOR).min(end);
        if segment[start..sector_end].iter().all(|byte| *byte == 0) {
            return true;
        }
        start = sector_end;
    }
    segment[end - 1] == 0
}
