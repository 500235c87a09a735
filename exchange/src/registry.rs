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
mod model;
mod specials;
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

use model::Model;
use specials::Specials;

/// The models that this exchange serves. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    models: BTreeMap<InstrumentId, Arc<Model>>,
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Nothing to serve.
    #[error("no model is configured")]
    NoModels,
    /// Models that are not installed, or not as they should be.
    #[error("models cannot be served: {}", mistakes.join("; "))]
    Models {
        /// Every mistake of every model.
        mistakes: Vec<String>,
    },
    /// A model that is not the one that was listed under its name.
    #[error(
        "the model `{model}` was listed with another {what}: install the new one under an id of its own, for every \
         exact model is an instrument"
    )]
    Changed {
        /// The model.
        model: String,
        /// What differs.
        what: &'static str,
    },
    /// The journal lists as many instruments as there are numbers.
    #[error("there is no number left for the model `{model}`")]
    Full {
        /// The model.
        model: String,
    },
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
        if models.is_empty() {
            return Err(RegistryError::NoModels);
        }
        let mut loaded = BTreeMap::new();
        let mut mistakes = Vec::new();
        for model in models {
            match Model::load(dir, model) {
                Ok(found) => drop(loaded.insert(model.clone(), Arc::new(found))),
                Err(found) => mistakes.extend(found.into_iter().map(|mistake| format!("{model}: {mistake}"))),
            }
        }
        if !mistakes.is_empty() {
            return Err(RegistryError::Models { mistakes });
        }
        Ok(Self {
            models: (0..).map(InstrumentId::new).zip(loaded.into_values()).collect(),
        })
    }

    /// Takes over the ids of the instruments that a journal has listed, in order, and returns what is to be listed
    /// still. A listed model that is not configured keeps its id and is not served. The floors of the tiers are the
    /// registry's to change; they are in force as loaded, not as listed.
    ///
    /// # Errors
    /// When a listed model is another one now: other weights, task, context or input weight under the same id.
    pub fn align<'a>(
        &mut self,
        listed: impl IntoIterator<Item = (InstrumentId, &'a Instrument)>,
    ) -> Result<Vec<ListInstrument>, RegistryError> {
        let mut unlisted: BTreeMap<String, Arc<Model>> = self
            .models
            .values()
            .map(|model| (model.instrument.model.clone(), Arc::clone(model)))
            .collect();
        let mut aligned = BTreeMap::new();
        let mut next = Some(0);
        for (id, instrument) in listed {
            next = id.get().checked_add(1);
            if let Some(model) = unlisted.remove(&instrument.model) {
                check_same(instrument, &model.instrument)?;
                aligned.insert(id, model);
            }
        }
        let mut to_list = Vec::new();
        for (name, model) in unlisted {
            let id = next
                .map(InstrumentId::new)
                .ok_or(RegistryError::Full { model: name })?;
            next = id.get().checked_add(1);
            to_list.push(ListInstrument {
                instrument: id,
                specification: model.instrument.clone(),
            });
            aligned.insert(id, model);
        }
        self.models = aligned;
        Ok(to_list)
    }

    /// What an instrument is, or `None` if it is not served here.
    #[must_use]
    pub fn instrument(&self, instrument: InstrumentId) -> Option<&Instrument> {
        self.models.get(&instrument).map(|model| &model.instrument)
    }

    /// The licence of a model's weights, as its manifest states it; empty if the instrument is not served here.
    #[must_use]
    pub fn licence(&self, instrument: InstrumentId) -> &str {
        self.models.get(&instrument).map_or("", |model| &model.licence)
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

    /// The token ids of a conversation, by the model's own chat template. Costs CPU in proportion to the text: a long
    /// prompt belongs where blocking is fine.
    ///
    /// # Errors
    /// See [`PromptError`].
    pub fn prompt(&self, instrument: InstrumentId, messages: &[ChatMessage]) -> Result<Prompt, PromptError> {
        let model = self.models.get(&instrument);
        let model = model.ok_or(PromptError::UnknownInstrument { instrument })?;
        model.prompt(messages)
    }

    /// The ids that end an answer, or nothing for an unknown instrument.
    #[must_use]
    pub fn stop_ids(&self, instrument: InstrumentId) -> Arc<[u32]> {
        let model = self.models.get(&instrument);
        model.map_or_else(Arc::default, |model| Arc::clone(&model.stop_ids))
    }

    /// Whether the model's tokenizer has this id: an Island that sends another misbehaves.
    #[must_use]
    pub fn is_token(&self, instrument: InstrumentId, id: u32) -> bool {
        let model = self.models.get(&instrument);
        model.is_some_and(|model| model.is_token(id))
    }

    /// Turns the ids of one answer into text; `None` for an unknown instrument.
    #[must_use]
    pub fn detokeniser(&self, instrument: InstrumentId, stops: StopStrings) -> Option<Detokeniser> {
        let model = self.models.get(&instrument)?;
        Some(model.detokeniser(stops))
    }

    /// The job that an Island's speed is measured with; `None` for an unknown instrument.
    #[must_use]
    pub fn canary(&self, instrument: InstrumentId) -> Option<CanaryJob> {
        let model = self.models.get(&instrument)?;
        Some(model.canary.clone())
    }
}

/// Whether what is installed is what was listed, as far as orders and bills depend on it.
fn check_same(listed: &Instrument, installed: &Instrument) -> Result<(), RegistryError> {
    let differs = [
        ("sha256 of its weights", listed.digest != installed.digest),
        ("task", listed.task != installed.task),
        ("context length", listed.context_max != installed.context_max),
        ("input weight", listed.input_weight != installed.input_weight),
    ];
    match differs.into_iter().find(|(_, differs)| *differs) {
        Some((what, _)) => Err(RegistryError::Changed {
            model: listed.model.clone(),
            what,
        }),
        None => Ok(()),
    }
}
