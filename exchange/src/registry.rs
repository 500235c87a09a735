//! Installed models as instruments: prompts to token ids, token ids to text.
//!
//! Owns the tokenizers and chat templates. Invariants:
//! - an instrument's id, once journaled, stays; a model that is not the one that was listed is refused;
//! - what a user wrote never becomes a control token, whatever it spells;
//! - a template or a text, however hostile, ends in an error and not in a panic or an endless loop.
//!
//! Deliberately absent: weights (the exchange runs no model) and fetching (an Island's program installs models).

mod detokenise;
mod manifest;
mod template;
mod tokenizer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use domain::{Instrument, InstrumentId, TokenCount};
use matcher::ListInstrument;

pub use detokenise::{Detokeniser, Piece, STOP_BYTES_MAX, STOPS_MAX, StopError, StopStrings};
pub use manifest::ManifestError;
pub use template::{ChatMessage, Role};

/// The models that this exchange serves.
#[derive(Clone, Debug)]
pub struct Registry {
    models: BTreeMap<InstrumentId, Arc<Model>>,
}

#[derive(Debug)]
struct Model {
    instrument: Instrument,
}

/// A short job with a known prompt: what an Island's tier is measured with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryJob {
    /// The prompt.
    pub prompt_ids: Arc<[u32]>,
    /// Tokens to write.
    pub max_tokens: u32,
}

/// A prompt as the model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Its token ids: at least one, and fewer than the context has.
    pub ids: Arc<[u32]>,
    /// Tokens that the context leaves for the answer, at least one.
    pub room: TokenCount,
}

/// Why the registry could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Nothing to serve.
    #[error("no model is configured")]
    NoModels,
}

/// Why a request makes no prompt. All but `Broken` are the caller's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// No such instrument here.
    #[error("this exchange does not serve {instrument}")]
    UnknownInstrument {
        /// The instrument.
        instrument: InstrumentId,
    },
    /// No messages, or none with any text.
    #[error("the prompt is empty")]
    Empty,
    /// Longer than the model can read with room for one token of answer.
    #[error(
        "the prompt has {tokens} tokens or more, the model's context has {context_max} for prompt and answer"
    )]
    TooLong {
        /// At least so many.
        tokens: u64,
        /// Prompt and answer together.
        context_max: TokenCount,
    },
    /// The model's chat template does not take this conversation, such as one whose roles do not alternate.
    #[error("the model's chat template refuses this conversation: {message}")]
    Refused {
        /// What the template says.
        message: String,
    },
    /// The template or the tokenizer failed: the operator's to mend.
    #[error("the model's chat template or tokenizer failed: {message}")]
    Broken {
        /// How.
        message: String,
    },
}

impl Registry {
    /// Loads `models` from their folders in `dir`. Instruments are numbered from 0 in the order of the models' ids,
    /// until [`Registry::align`] tells of a journal.
    ///
    /// # Errors
    /// When a model is not installed, or its files contradict each other: all mistakes of all models together.
    pub fn load(dir: &Path, models: &[String]) -> Result<Self, RegistryError> {
        let _ = (dir, models);
        todo!()
    }

    /// Takes over the ids of the instruments that a journal has listed, and returns what is to be listed still, in
    /// order. A listed model that is not configured keeps its id and is not served.
    ///
    /// # Errors
    /// When a listed model is another one now: other weights, context or input weight under the same id.
    pub fn align<'a>(
        &mut self,
        listed: impl IntoIterator<Item = (InstrumentId, &'a Instrument)>,
    ) -> Result<Vec<ListInstrument>, RegistryError> {
        let _ = listed.into_iter().count();
        todo!()
    }

    /// What an instrument is, or `None` if it is not served here.
    #[must_use]
    pub fn instrument(&self, instrument: InstrumentId) -> Option<&Instrument> {
        self.models.get(&instrument).map(|model| &model.instrument)
    }

    /// The instrument of a model's id.
    #[must_use]
    pub fn find(&self, model: &str) -> Option<InstrumentId> {
        self.models()
            .find(|(_, instrument)| instrument.model == model)
            .map(|(id, _)| id)
    }

    /// Every instrument that is served, in the order of ids.
    pub fn models(&self) -> impl Iterator<Item = (InstrumentId, &Instrument)> + '_ {
        self.models.iter().map(|(id, model)| (*id, &model.instrument))
    }

    /// The token ids of a conversation, by the model's own chat template. Costs CPU in proportion to the text, tens
    /// of microseconds a kilobyte: call it where blocking is fine.
    ///
    /// # Errors
    /// See [`PromptError`].
    pub fn prompt(&self, instrument: InstrumentId, messages: &[ChatMessage]) -> Result<Prompt, PromptError> {
        let _ = (instrument, messages);
        todo!()
    }

    /// The ids that end an answer, or nothing for an unknown instrument.
    #[must_use]
    pub fn stop_ids(&self, instrument: InstrumentId) -> Arc<[u32]> {
        let _ = instrument;
        todo!()
    }

    /// Whether the model's tokenizer has this id: an Island that sends another misbehaves.
    #[must_use]
    pub fn is_token(&self, instrument: InstrumentId, id: u32) -> bool {
        let _ = (instrument, id);
        todo!()
    }

    /// Turns the ids of one answer into text; `None` for an unknown instrument.
    #[must_use]
    pub fn detokeniser(&self, instrument: InstrumentId, stops: StopStrings) -> Option<Detokeniser> {
        let _ = (instrument, stops);
        todo!()
    }

    /// The job that an Island's speed is measured with; `None` for an unknown instrument.
    #[must_use]
    pub fn canary(&self, instrument: InstrumentId) -> Option<CanaryJob> {
        let _ = instrument;
        todo!()
    }
}
