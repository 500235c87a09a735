//! Token ids to text, whole characters only, with a watch for stop strings.
//!
//! One answer's ids go in as they come, in pieces of any size, and the text that comes out is the same as if all had
//! come at once: everything is decided id by id.

use std::sync::Arc;

use domain::TokenCount;

use super::tokenizer::{Vocabulary, token_bytes};

/// Stop strings that one request may name.
pub const STOPS_MAX: usize = 16;
/// The longest stop string, in bytes.
pub const STOP_BYTES_MAX: usize = 256;

/// Texts that end an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopStrings(Vec<String>);

/// Stop strings that are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// More than [`STOPS_MAX`].
    #[error("at most {STOPS_MAX} stop strings")]
    TooMany,
    /// An empty one would end every answer before it begins.
    #[error("a stop string is not empty")]
    Empty,
    /// Longer than [`STOP_BYTES_MAX`].
    #[error("a stop string has at most {STOP_BYTES_MAX} bytes")]
    TooLong,
}

impl StopStrings {
    /// Checks and keeps the texts.
    ///
    /// # Errors
    /// See [`StopError`].
    pub fn new(stops: Vec<String>) -> Result<Self, StopError> {
        if stops.len() > STOPS_MAX {
            return Err(StopError::TooMany);
        }
        for stop in &stops {
            if stop.is_empty() {
                return Err(StopError::Empty);
            }
            if stop.len() > STOP_BYTES_MAX {
                return Err(StopError::TooLong);
            }
        }
        Ok(Self(stops))
    }

    /// Where the first stop string in `text` begins.
    fn first_in(&self, text: &str) -> Option<usize> {
        self.0.iter().filter_map(|stop| text.find(stop.as_str())).min()
    }

    /// How many bytes at the end of `text` could be the beginning of a stop string.
    fn begun_at_end_of(&self, text: &str) -> usize {
        let begun = |stop: &String| {
            let ends = stop.char_indices().map(|(end, _)| end).rev();
            ends.into_iter()
                .find(|end| text.ends_with(&stop[..*end]))
                .unwrap_or(0)
        };
        self.0.iter().map(begun).max().unwrap_or(0)
    }
}

/// What some ids came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Text that may be shown now; the rest of it is held back until it is certain.
    pub text: String,
    /// Set once a stop string is complete: how many ids of the answer it took, the last of it included. The text ends
    /// before the stop string, and later ids write nothing.
    pub stopped_after: Option<TokenCount>,
}

/// Turns the ids of one answer into text. The text does not depend on how the ids are cut into calls.
///
/// Control tokens, and ids that the model does not have, write nothing.
#[derive(Clone, Debug)]
pub struct Detokeniser {
    vocabulary: Arc<Vocabulary>,
    stops: StopStrings,
    taken: u32,
    /// The beginning of a character.
    bytes: Vec<u8>,
    /// Whole characters that could be the beginning of a stop string.
    held: String,
    stopped_after: Option<TokenCount>,
}

impl Detokeniser {
    pub(super) fn new(vocabulary: Arc<Vocabulary>, stops: StopStrings) -> Self {
        Self {
            vocabulary,
            stops,
            taken: 0,
            bytes: Vec::new(),
            held: String::new(),
            stopped_after: None,
        }
    }

    /// Takes the next ids.
    pub fn push(&mut self, ids: &[u32]) -> Piece {
        let mut text = String::new();
        for id in ids {
            if self.stopped_after.is_some() {
                break;
            }
            self.taken = self.taken.saturating_add(1);
            let vocabulary = Arc::clone(&self.vocabulary);
            self.bytes
                .extend_from_slice(token_bytes(&vocabulary, *id).unwrap_or_default());
            take_whole_characters(&mut self.bytes, &mut self.held);
            self.release(&mut text);
        }
        Piece {
            text,
            stopped_after: self.stopped_after,
        }
    }

    /// The end: what was held back. Half a character comes out as U+FFFD, and if that completes a stop string, the
    /// text ends before it.
    #[must_use]
    pub fn finish(mut self) -> String {
        if self.stopped_after.is_some() {
            return String::new();
        }
        self.held.push_str(&String::from_utf8_lossy(&self.bytes));
        if let Some(start) = self.stops.first_in(&self.held) {
            self.held.truncate(start);
        }
        self.held
    }

    /// Moves what is certain from what is held to `text`.
    fn release(&mut self, text: &mut String) {
        if let Some(start) = self.stops.first_in(&self.held) {
            text.push_str(&self.held[..start]);
            self.held.clear();
            self.stopped_after = Some(TokenCount::new(self.taken));
            return;
        }
        let certain = self.held.len() - self.stops.begun_at_end_of(&self.held);
        text.push_str(&self.held[..certain]);
        self.held.drain(..certain);
    }
}

/// Moves whole characters to `text` and leaves the beginning of one; bytes that begin none become U+FFFD, as they do
/// where the whole answer is decoded at once.
fn take_whole_characters(bytes: &mut Vec<u8>, text: &mut String) {
    let mut done = 0;
    loop {
        match std::str::from_utf8(&bytes[done..]) {
            Ok(valid) => {
                text.push_str(valid);
                bytes.clear();
                return;
            }
            Err(error) => {
                let valid = done + error.valid_up_to();
                text.push_str(&String::from_utf8_lossy(&bytes[done..valid]));
                let Some(invalid) = error.error_len() else {
                    bytes.drain(..valid);
                    return;
                };
                text.push(char::REPLACEMENT_CHARACTER);
                done = valid + invalid;
            }
        }
    }
}
