//! Page tokens: opaque to callers, bound to the question that they continue.

use data_encoding::BASE32_NOPAD;
use proto::convert::FieldError;

use crate::keys::sha256;

/// The form of a token; another one is refused.
const VERSION: u8 = 1;

/// The question that a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// A shard's reservations.
    Reservations(u16),
    /// An owner's history.
    History(u64),
    /// What a shard's reserved accounts hold.
    ReservedBalances(u16),
    /// Payouts, by a digest of what is asked.
    Payouts(u64),
    /// An owner's history under a filter, by a digest of both.
    FilteredHistory(u64),
    /// What was spent with a line on a day, by a digest of both.
    Spending(u64),
    /// Sums over settlements, by a digest of the question.
    Usage(u64),
}

impl Listing {
    fn tag(self) -> (u8, u64) {
        match self {
            Self::Reservations(shard) => (1, u64::from(shard)),
            Self::History(owner) => (2, owner),
            Self::ReservedBalances(shard) => (3, u64::from(shard)),
            Self::Payouts(digest) => (4, digest),
            Self::FilteredHistory(digest) => (5, digest),
            Self::Spending(digest) => (6, digest),
            Self::Usage(digest) => (7, digest),
        }
    }
}

/// The token of the page that begins beside transfer or account `number`.
#[must_use]
pub fn token(listing: Listing, number: u64) -> String {
    let mut bytes = body(listing, number);
    bytes.extend_from_slice(&check(&bytes));
    BASE32_NOPAD.encode(&bytes).to_lowercase()
}

/// Where the page begins; `None` for the first page.
///
/// # Errors
/// When the token was not given out for this listing.
pub fn number(listing: Listing, token: &str) -> Result<Option<u64>, FieldError> {
    if token.is_empty() {
        return Ok(None);
    }
    let wrong = || FieldError::new("page_token", "was not given out for this list");
    let bytes = BASE32_NOPAD
        .decode(token.to_ascii_uppercase().as_bytes())
        .map_err(|_| wrong())?;
    let (bytes, sum) = bytes.split_last_chunk::<4>().ok_or_else(wrong)?;
    let (_, number) = bytes.split_last_chunk::<8>().ok_or_else(wrong)?;
    let number = u64::from_be_bytes(*number);
    if bytes != body(listing, number) || *sum != check(bytes) {
        return Err(wrong());
    }
    Ok(Some(number))
}

fn body(listing: Listing, number: u64) -> Vec<u8> {
    let (tag, of) = listing.tag();
    let mut bytes = vec![VERSION, tag];
    bytes.extend_from_slice(&of.to_be_bytes());
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes
}

/// The first 64 bits of a question's digest, for a listing that has no number of its own.
#[must_use]
pub fn digest(question: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = sha256(question.as_bytes());
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn check(bytes: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = sha256(bytes);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_continues_its_own_listing_only() {
        let listing = Listing::History(7);
        let text = token(listing, 42);
        assert_eq!(number(listing, &text), Ok(Some(42)));
        assert_eq!(number(listing, ""), Ok(None));
        for other in [
            Listing::History(8),
            Listing::Reservations(7),
            Listing::ReservedBalances(7),
        ] {
            assert_eq!(number(other, &text).unwrap_err().field, "page_token");
        }
    }

    #[test]
    fn a_made_up_token_is_refused() {
        let text = token(Listing::Reservations(u16::MAX), u64::MAX);
        let mut broken = text.clone();
        broken.replace_range(10..11, if &text[10..11] == "a" { "b" } else { "a" });
        for made_up in ["x", "1", "aaaa", &broken, &text[1..], &"a".repeat(10_000)] {
            assert!(
                number(Listing::Reservations(u16::MAX), made_up).is_err(),
                "{made_up}"
            );
        }
    }
}
