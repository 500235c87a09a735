//! What the exchange needs of an installed model's manifest.
//!
//! The format is the one that `docs/models.md` describes; keys that only an installer needs are checked for their
//! kind and put aside. Reading reports every mistake at once and refuses unknown keys: a misspelt key would otherwise
//! change what is traded without a word.

use domain::{Digest, InputWeight, Instrument, SpeedFloors, Task, Tier, TierFloor, TokenCount};
use toml::{Table, Value};

/// The largest manifest that is read.
pub(super) const MANIFEST_BYTES_MAX: u64 = 64 * 1_024;
const ID_LENGTH_MAX: usize = 64;
const TEXT_LENGTH_MAX: usize = 256;
const CONTEXT_MAX: u64 = 1 << 24;
const WEIGHTS_BYTES_MAX: u64 = 1 << 40;
const LIST_LENGTH_MAX: usize = 16;
const DECODE_PER_SECOND_MAX: u64 = 1_000_000;
const PREFILL_PER_SECOND_MAX: u64 = 10_000_000;

/// A manifest that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manifest has mistakes: {}", mistakes.join("; "))]
pub struct ManifestError {
    /// Every mistake that was found.
    pub mistakes: Vec<String>,
}

/// What a manifest says, as far as the exchange cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) instrument: Instrument,
    pub(super) licence: String,
    pub(super) weights_bytes: u64,
    pub(super) bos: Option<u32>,
    pub(super) eos: Vec<u32>,
}

/// Whether the text can be a model's id, which is also its folder's name.
pub(super) fn is_model_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().next().is_some_and(plain)
        && text.len() <= ID_LENGTH_MAX
        && text.bytes().all(|byte| plain(byte) || b"-_.".contains(&byte))
}

impl Manifest {
    pub(super) fn parse(text: &str) -> Result<Self, ManifestError> {
        let table = text.parse::<Table>().map_err(|error| ManifestError {
            mistakes: vec![error.to_string().replace('\n', " ")],
        })?;
        let mut mistakes = Vec::new();
        let manifest = Section::new(table, String::new(), &mut mistakes).manifest();
        match manifest {
            Some(manifest) if mistakes.is_empty() => Ok(manifest),
            Some(_) | None => Err(ManifestError { mistakes }),
        }
    }
}

/// A table whose keys are taken out one by one; what is left at the end is unknown.
struct Section<'m> {
    table: Table,
    path: String,
    mistakes: &'m mut Vec<String>,
}

impl<'m> Section<'m> {
    fn new(table: Table, path: String, mistakes: &'m mut Vec<String>) -> Self {
        Self {
            table,
            path,
            mistakes,
        }
    }

    fn manifest(mut self) -> Option<Manifest> {
        let model = self.text("id");
        if model.as_deref().is_some_and(|id| !is_model_id(id)) {
            self.note(
                "id",
                "must be lower-case letters, digits, '-', '_' and '.', 64 at most",
            );
        }
        self.only("task", "chat");
        self.only("format", "gguf");
        self.text("quantisation");
        let licence = self.text("licence");
        self.texts("sources");
        let context_max = self.number("context_length", 1..=CONTEXT_MAX);
        let bos = self
            .table
            .contains_key("bos_token_id")
            .then(|| self.token("bos_token_id"));
        let eos = self.tokens("eos_token_ids");
        let input_weight = self.number("input_weight", 0..=1_000);
        let weights = self.section("weights").and_then(Section::weights);
        let floors = self.section("tiers").and_then(Section::floors);
        self.finish();
        let (digest, weights_bytes) = weights?;
        Some(Manifest {
            instrument: Instrument {
                model: model?,
                task: Task::Chat,
                digest,
                input_weight: InputWeight::from_thousandths(u16::try_from(input_weight?).ok()?).ok()?,
                context_max: TokenCount::new(u32::try_from(context_max?).ok()?),
                floors: floors?,
            },
            licence: licence?,
            weights_bytes,
            bos: match bos {
                Some(id) => Some(id?),
                None => None,
            },
            eos: eos?,
        })
    }

    fn weights(mut self) -> Option<(Digest, u64)> {
        self.only("file", "weights.gguf");
        let digest = self.text("sha256").and_then(|hex| {
            let digest = Digest::from_hex(&hex);
            if digest.is_none() {
                self.note("sha256", "must be 64 lower-case hexadecimal digits");
            }
            digest
        });
        let bytes = self.number("bytes", 1..=WEIGHTS_BYTES_MAX);
        self.finish();
        Some((digest?, bytes?))
    }

    fn floors(mut self) -> Option<SpeedFloors> {
        let floors = Tier::ALL.map(|tier| self.section(tier.name()).and_then(Section::floor));
        if let [Some(a), Some(b), Some(c), Some(d), Some(e)] = floors {
            let ordered = [(a, b), (b, c), (c, d), (d, e)]
                .iter()
                .all(|(slow, fast)| slow.decode_per_second <= fast.decode_per_second);
            if !ordered {
                self.mistakes
                    .push("tiers: a faster tier promises no less than a slower one".to_owned());
            }
            self.finish();
            return Some(SpeedFloors::new([a, b, c, d, e]));
        }
        self.finish();
        None
    }

    fn floor(mut self) -> Option<TierFloor> {
        let decode = self.number("decode_per_second", 1..=DECODE_PER_SECOND_MAX);
        let prefill = self.number("prefill_per_second", 1..=PREFILL_PER_SECOND_MAX);
        self.finish();
        Some(TierFloor {
            decode_per_second: u32::try_from(decode?).ok()?,
            prefill_per_second: u32::try_from(prefill?).ok()?,
        })
    }

    fn section(&mut self, key: &str) -> Option<Section<'_>> {
        let Value::Table(table) = self.take(key)? else {
            return self.reject(key, "must be a section");
        };
        let path = format!("{}{key}.", self.path);
        Some(Section::new(table, path, self.mistakes))
    }

    fn only(&mut self, key: &str, value: &str) {
        if self.text(key).is_some_and(|text| text != value) {
            self.note(key, &format!("must be \"{value}\""));
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        if let Value::String(text) = self.take(key)?
            && (1..=TEXT_LENGTH_MAX).contains(&text.len())
        {
            return Some(text);
        }
        self.reject(key, "must be a text of 1 to 256 bytes")
    }

    fn texts(&mut self, key: &str) {
        if self.list(key).is_some_and(|list| !list.iter().all(Value::is_str)) {
            self.note(key, "must hold texts only");
        }
    }

    fn number(&mut self, key: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let number = self
            .take(key)?
            .as_integer()
            .and_then(|number| u64::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (min, max) = range.into_inner();
            self.note(key, &format!("must be a whole number from {min} to {max}"));
        }
        number
    }

    fn token(&mut self, key: &str) -> Option<u32> {
        let number = self.number(key, 0..=u64::from(u32::MAX))?;
        u32::try_from(number).ok()
    }

    fn tokens(&mut self, key: &str) -> Option<Vec<u32>> {
        let id = |value: &Value| value.as_integer().and_then(|id| u32::try_from(id).ok());
        let ids: Option<Vec<u32>> = self.list(key)?.iter().map(id).collect();
        if ids.is_none() {
            self.note(key, "must hold token ids only");
        }
        ids
    }

    fn list(&mut self, key: &str) -> Option<Vec<Value>> {
        if let Value::Array(values) = self.take(key)?
            && (1..=LIST_LENGTH_MAX).contains(&values.len())
        {
            return Some(values);
        }
        self.reject(key, "must be a list of 1 to 16")
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        let value = self.table.remove(key);
        if value.is_none() {
            self.note(key, "is missing");
        }
        value
    }

    fn finish(&mut self) {
        for key in std::mem::take(&mut self.table).keys() {
            self.note(key, "is not a key of a manifest");
        }
    }

    fn reject<T>(&mut self, key: &str, what: &str) -> Option<T> {
        self.note(key, what);
        None
    }

    fn note(&mut self, key: &str, what: &str) {
        self.mistakes.push(format!("{}{key} {what}", self.path));
    }
}
