//! Token ids to text, whole characters only, with a watch for stop strings.

use domain::TokenCount;

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
#[derive(Clone, Debug)]
pub struct Detokeniser {}

impl Detokeniser {
    /// Takes the next ids.
    pub fn push(&mut self, ids: &[u32]) -> Piece {
        let _ = ids;
        todo!()
    }

    /// The end: what was held back. Half a character comes out as U+FFFD.
    #[must_use]
    pub fn finish(self) -> String {
        todo!()
    }
}
