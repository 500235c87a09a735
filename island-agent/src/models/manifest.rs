//! A model's manifest: what it is, how it is billed, where its weights come from.
//!
//! Reading reports every mistake at once and refuses unknown keys, for a misspelt key would
//! otherwise change what is traded without a word.

use std::fmt;

use toml::{Table, Value};

use super::source::Source;

/// The manifests that the program carries.
const BUILT_IN: [&str; 1] = [include_str!("../../manifests/smollm2-135m-instruct-q4_1.toml")];

/// The longest id.
const ID_LENGTH_MAX: usize = 64;
/// The largest manifest that is read, in bytes.
const SIZE_MAX: usize = 64 * 1024;
/// The largest weights that are accepted: 1 TiB.
const WEIGHTS_BYTES_MAX: u64 = 1 << 40;
/// The longest context that is accepted.
const CONTEXT_LENGTH_MAX: u32 = 1 << 24;
/// The longest text, in bytes.
const TEXT_BYTES_MAX: usize = 256;
/// The most sources that are tried.
const SOURCES_MAX: usize = 16;

/// A model's registry id. Lower-case letters, digits, `-`, `_` and `.`, beginning with a letter or
/// digit: it is used as a folder's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId(String);

/// The text is no model id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a model id: up to {ID_LENGTH_MAX} lower-case letters, digits, '-', '_' and '.', \
     a letter or digit first"
)]
pub struct ModelIdError {
    text: String,
}

impl ModelId {
    /// Checks and keeps an id.
    ///
    /// # Errors
    ///
    /// When the text could be anything but one folder's name.
    pub fn parse(text: &str) -> Result<Self, ModelIdError> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let legal = text.bytes().next().is_some_and(is_plain)
            && text.len() <= ID_LENGTH_MAX
            && text.bytes().all(|byte| is_plain(byte) || b"-_.".contains(&byte));
        match legal {
            true => Ok(Self(text.to_owned())),
            false => Err(ModelIdError {
                text: text.chars().take(ID_LENGTH_MAX).collect(),
            }),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The speed that a tier promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeedFloor {
    /// Output tokens a second, at least.
    pub decode_per_second: u32,
    /// Prompt tokens a second, at least.
    pub prefill_per_second: u32,
}

/// The names of the tiers, slowest first: the order of [`Manifest::tiers`].
pub const TIER_NAMES: [&str; 5] = ["phone", "laptop", "desktop", "workstation", "server"];

/// What a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The registry's id.
    pub id: ModelId,
    /// How the weights are quantised, in the field's words, such as `Q4_1`.
    pub quantisation: String,
    /// The licence of the weights, as an SPDX expression.
    pub licence: String,
    /// The most tokens that prompt and output may have together.
    pub context_length: u32,
    /// The id that begins a text, if the model uses one.
    pub bos_token_id: Option<u32>,
    /// The ids that end an answer.
    pub eos_token_ids: Vec<u32>,
    /// What a prompt token weighs, in thousandths of an output token.
    pub input_weight: u16,
    /// Where the weights can be had, best first.
    pub sources: Vec<Source>,
    /// The digest of the weights, in lower-case hexadecimal.
    pub weights_sha256: String,
    /// The size of the weights.
    pub weights_bytes: u64,
    /// What each tier promises, in the order of [`TIER_NAMES`].
    pub tiers: [SpeedFloor; 5],
    /// The text that all this was read from.
    text: String,
}

/// A manifest that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manifest has mistakes: {}", mistakes.join("; "))]
pub struct ManifestError {
    /// Every mistake that was found.
    pub mistakes: Vec<String>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// All mistakes together.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > SIZE_MAX {
            let mistakes = vec![format!("it is larger than {SIZE_MAX} bytes")];
            return Err(ManifestError { mistakes });
        }
        let table = text.parse::<Table>().map_err(|error| ManifestError {
            mistakes: vec![error.to_string().replace('\n', " ")],
        })?;
        let mut reader = Reader::new(table);
        let manifest = reader.manifest(text);
        reader.finish();
        match manifest {
            Some(manifest) if reader.mistakes.is_empty() => Ok(manifest),
            _ => Err(ManifestError {
                mistakes: reader.mistakes,
            }),
        }
    }

    /// A manifest that the program carries.
    #[must_use]
    pub fn built_in(id: &ModelId) -> Option<Self> {
        Self::all_built_in()
            .into_iter()
            .find(|manifest| manifest.id == *id)
    }

    /// All manifests that the program carries.
    ///
    /// # Panics
    ///
    /// Never: a test reads them all.
    #[must_use]
    pub fn all_built_in() -> Vec<Self> {
        BUILT_IN
            .into_iter()
            .map(|text| Self::parse(text).expect("the manifests that the program carries are tested"))
            .collect()
    }

    /// The text that it was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The name of the weights in a model's folder; a manifest states it so that the folder explains
/// itself, and may state nothing else.
pub(super) const WEIGHTS_FILE: &str = "weights.gguf";

/// Takes keys out of a table and notes what is wrong with them.
struct Reader {
    table: Table,
    prefix: String,
    mistakes: Vec<String>,
}

impl Reader {
    fn new(table: Table) -> Self {
        Self {
            table,
            prefix: String::new(),
            mistakes: Vec::new(),
        }
    }

    fn manifest(&mut self, text: &str) -> Option<Manifest> {
        let id = self.text("id").and_then(|id| self.keep(ModelId::parse(&id)));
        self.fixed("task", "chat");
        self.fixed("format", "gguf");
        let quantisation = self.text("quantisation");
        let licence = self.text("licence");
        let context_length = self.number("context_length", 1, CONTEXT_LENGTH_MAX.into());
        let bos_token_id = self
            .table
            .contains_key("bos_token_id")
            .then(|| self.number("bos_token_id", 0, u32::MAX.into()));
        let eos_token_ids = self.token_ids("eos_token_ids");
        let input_weight = self.number("input_weight", 0, 1_000);
        let sources = self.sources();
        let weights = self.section("weights", |reader| {
            reader.fixed("file", WEIGHTS_FILE);
            let sha256 = reader.digest("sha256");
            let bytes = reader.number("bytes", 1, WEIGHTS_BYTES_MAX);
            Some((sha256?, bytes?))
        });
        let tiers = self.section("tiers", |reader| {
            let floors = TIER_NAMES.map(|name| reader.section(name, Self::floor));
            let [Some(a), Some(b), Some(c), Some(d), Some(e)] = floors else {
                return None;
            };
            Some([a, b, c, d, e])
        });
        let (weights_sha256, weights_bytes) = weights?;
        Some(Manifest {
            id: id?,
            quantisation: quantisation?,
            licence: licence?,
            context_length: u32::try_from(context_length?).ok()?,
            bos_token_id: match bos_token_id {
                Some(id) => Some(u32::try_from(id?).ok()?),
                None => None,
            },
            eos_token_ids: eos_token_ids?,
            input_weight: u16::try_from(input_weight?).ok()?,
            sources: sources?,
            weights_sha256,
            weights_bytes,
            tiers: tiers?,
            text: text.to_owned(),
        })
    }

    fn floor(&mut self) -> Option<SpeedFloor> {
        let decode = self.number("decode_per_second", 1, 1_000_000);
        let prefill = self.number("prefill_per_second", 1, 10_000_000);
        Some(SpeedFloor {
            decode_per_second: u32::try_from(decode?).ok()?,
            prefill_per_second: u32::try_from(prefill?).ok()?,
        })
    }

    fn sources(&mut self) -> Option<Vec<Source>> {
        let values = self.list("sources", SOURCES_MAX)?;
        let mut sources = Vec::new();
        for value in &values {
            let source = match value.as_str() {
                Some(text) => self.keep(Source::parse(text)),
                None => self.mistake("sources", "holds something that is not a text"),
            };
            sources.extend(source);
        }
        (sources.len() == values.len()).then_some(sources)
    }

    fn token_ids(&mut self, key: &str) -> Option<Vec<u32>> {
        let values = self.list(key, 16)?;
        let ids: Option<Vec<u32>> = values
            .iter()
            .map(|value| value.as_integer().and_then(|id| u32::try_from(id).ok()))
            .collect();
        ids.or_else(|| self.mistake(key, "holds something that is not a token id"))
    }

    fn list(&mut self, key: &str, count_max: usize) -> Option<Vec<Value>> {
        if let Value::Array(values) = self.take(key)?
            && (1..=count_max).contains(&values.len())
        {
            return Some(values);
        }
        self.mistake(key, &format!("must be a list of 1 to {count_max}"))
    }

    fn digest(&mut self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match text.len() == 64 && text.bytes().all(is_digit) {
            true => Some(text),
            false => self.mistake(key, "must be 64 lower-case hexadecimal digits"),
        }
    }

    fn number(&mut self, key: &str, min: u64, max: u64) -> Option<u64> {
        let number = self.take(key)?.as_integer();
        let number = number.and_then(|number| u64::try_from(number).ok());
        match number {
            Some(number) if (min..=max).contains(&number) => Some(number),
            _ => self.mistake(key, &format!("must be a whole number from {min} to {max}")),
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        if let Value::String(text) = self.take(key)?
            && (1..=TEXT_BYTES_MAX).contains(&text.len())
        {
            return Some(text);
        }
        self.mistake(key, &format!("must be a text of 1 to {TEXT_BYTES_MAX} bytes"))
    }

    fn fixed(&mut self, key: &str, only: &str) {
        if self.text(key).is_some_and(|text| text != only) {
            self.mistake::<()>(key, &format!("must be {only:?}"));
        }
    }

    fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let Value::Table(table) = self.take(key)? else {
            return self.mistake(key, "must be a section");
        };
        let mut section = Self {
            table,
            prefix: format!("{}{key}.", self.prefix),
            mistakes: Vec::new(),
        };
        let value = read(&mut section);
        section.finish();
        self.mistakes.append(&mut section.mistakes);
        value
    }

    /// Notes the keys that nobody took.
    fn finish(&mut self) {
        let unknown: Vec<String> = self.table.keys().cloned().collect();
        for key in unknown {
            self.mistake::<()>(&key, "is not a key of a manifest");
        }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        let value = self.table.remove(key);
        value.or_else(|| self.mistake(key, "is missing"))
    }

    fn keep<T, E: fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistakes.push(error.to_string());
                None
            }
        }
    }

    fn mistake<T>(&mut self, key: &str, what: &str) -> Option<T> {
        self.mistakes.push(format!("{}{key} {what}", self.prefix));
        None
    }
}
