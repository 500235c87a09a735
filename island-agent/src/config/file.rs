//! The file's shape and defaults, and the one check of all its values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use domain::{JOBS_MAX, Price, Tier};
use serde::Deserialize;
use service::config::{ConfigError, Mistakes};
use service::secret::Secret;

use super::{Config, RunnerChoice};
use crate::agent::BackoffRule;
use crate::limits::{MODELS_MAX, SLOTS_MAX};
use crate::pricing::PricingRule;
use runner::candle;
use runner::scripted::{Fault, Script};

/// Where an exchange listens unless told otherwise.
const EXCHANGE_DEFAULT: &str = "http://127.0.0.1:8080";
/// Jobs an ask offers: many enough that renewals are rare, finite because a quote is firm.
const JOBS_PER_ASK_DEFAULT: u32 = 1_000;
/// The least time between two prices: a surcharge must not make an order storm.
const REPRICE_AFTER_MS_DEFAULT: u64 = 5_000;
/// The longest first wait before coming back.
const RECONNECT_FIRST_MS_DEFAULT: u64 = 500;
/// The longest wait before coming back.
const RECONNECT_MAX_MS_DEFAULT: u64 = 30_000;
/// A stopped Island finishes its jobs in this time, or cancels them: the longest that a person waits.
const DRAIN_WITHIN_MS_DEFAULT: u64 = 30_000;
/// The steepest surcharge.
const SURCHARGE_PERCENT_MAX: u32 = 1_000;
/// The most inference threads.
const THREADS_MAX: u32 = 1_024;
/// The longest model id.
const MODEL_NAME_MAX: usize = 100;
/// The longest name for people.
const DISPLAY_NAME_MAX: usize = 100;
/// The longest duration of a configuration: a day.
const MILLIS_MAX: u64 = 86_400_000;
/// The environment variable that carries the API key.
const API_KEY_VARIABLE: &str = "ATOLL_API_KEY";

/// The configuration file. Absent keys have defaults; `region`, `models`, a price and an API key have none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// The exchange's URL.
    pub exchange: Option<String>,
    /// A certificate authority in PEM, for an exchange with its own.
    pub exchange_ca: Option<PathBuf>,
    /// The owner's API key; better in `api_key_file` or the environment.
    pub api_key: Option<Secret>,
    /// A file that holds the API key and nothing else.
    pub api_key_file: Option<PathBuf>,
    /// The data folder.
    pub data: Option<PathBuf>,
    /// The folder of downloaded models.
    pub models_cache: Option<PathBuf>,
    /// The region.
    pub region: Option<String>,
    /// Jobs at once.
    pub slots: Option<u32>,
    /// Inference threads.
    pub threads: Option<u32>,
    /// Models to offer.
    pub models: Vec<String>,
    /// The highest tier.
    pub tier_max: Option<String>,
    /// A name for people.
    pub display_name: Option<String>,
    /// How long a drain may take, in milliseconds.
    pub drain_within_ms: Option<u64>,
    /// `candle` or `scripted`.
    pub runner: Option<String>,
    /// What it asks for its work.
    pub pricing: PricingFile,
    /// How it comes back.
    pub reconnect: ReconnectFile,
    /// What the scripted runner does.
    pub scripted: Option<ScriptedFile>,
}

/// The table `[pricing]`. Prices are decimal credits per 1,000 work units, as texts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PricingFile {
    /// The price of a model that has none of its own.
    pub price: Option<String>,
    /// Prices of single models.
    pub models: BTreeMap<String, String>,
    /// Never below this.
    pub floor: Option<String>,
    /// Never above this.
    pub ceiling: Option<String>,
    /// Per cent on top for each busy slot.
    pub surcharge_percent: u32,
    /// Jobs that an ask offers.
    pub jobs_per_ask: Option<u32>,
    /// The least time between two prices of one model, in milliseconds.
    pub reprice_after_ms: Option<u64>,
}

/// The table `[reconnect]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReconnectFile {
    /// The longest first wait, in milliseconds; it doubles.
    pub first_ms: Option<u64>,
    /// The longest wait of all, in milliseconds.
    pub max_ms: Option<u64>,
}

/// The table `[scripted]`: made-up tokens, for tests and load only.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptedFile {
    /// SHA-256 of the weights that it pretends to have, as the exchange lists them.
    pub model_sha256: Option<String>,
    /// Ids are drawn below this.
    pub vocabulary_size: Option<u32>,
    /// The most ids that a job may have in all.
    pub context_length: Option<u32>,
    /// Microseconds between two ids.
    pub token_interval_us: u64,
    /// Microseconds before the first id.
    pub first_token_after_us: u64,
    /// The position at which every stream ends by itself.
    pub stop_at: Option<u32>,
}

impl File {
    /// Checks every value.
    ///
    /// # Errors
    /// With all mistakes.
    pub fn check(self) -> Result<Config, ConfigError> {
        let mut mistakes = Mistakes::new();
        let api_key = self.read_api_key(&mut mistakes);
        let exchange = self.exchange.unwrap_or_else(|| EXCHANGE_DEFAULT.to_owned());
        check_url(&exchange, &mut mistakes);
        let region = self.region.unwrap_or_default();
        check_region(&region, &mut mistakes);
        let slots = bounded("slots", self.slots.unwrap_or(1), SLOTS_MAX, &mut mistakes);
        let threads = bounded("threads", self.threads.unwrap_or(1), THREADS_MAX, &mut mistakes);
        check_models(&self.models, &mut mistakes);
        let tier_max = self
            .tier_max
            .and_then(|text| mistakes.take("tier_max", text.parse::<Tier>()));
        let display_name = self.display_name.unwrap_or_else(|| "an Island".to_owned());
        mistakes.check(
            (1..=DISPLAY_NAME_MAX).contains(&display_name.chars().count())
                && !display_name.chars().any(char::is_control),
            format!("display_name: must be 1 to {DISPLAY_NAME_MAX} printable characters"),
        );
        let jobs_per_ask = bounded(
            "pricing.jobs_per_ask",
            self.pricing.jobs_per_ask.unwrap_or(JOBS_PER_ASK_DEFAULT),
            JOBS_MAX,
            &mut mistakes,
        );
        let mut millis = |key: &str, value: Option<u64>, default: u64| {
            let value = value.unwrap_or(default);
            mistakes.check(
                (1..=MILLIS_MAX).contains(&value),
                format!("{key}: must be 1 to {MILLIS_MAX} milliseconds"),
            );
            Duration::from_millis(value)
        };
        let reprice_after = millis(
            "pricing.reprice_after_ms",
            self.pricing.reprice_after_ms,
            REPRICE_AFTER_MS_DEFAULT,
        );
        let reconnect = BackoffRule {
            first: millis(
                "reconnect.first_ms",
                self.reconnect.first_ms,
                RECONNECT_FIRST_MS_DEFAULT,
            ),
            longest: millis(
                "reconnect.max_ms",
                self.reconnect.max_ms,
                RECONNECT_MAX_MS_DEFAULT,
            ),
        };
        let drain_within = millis("drain_within_ms", self.drain_within_ms, DRAIN_WITHIN_MS_DEFAULT);
        mistakes.check(
            reconnect.first <= reconnect.longest,
            "reconnect.first_ms: is above reconnect.max_ms",
        );
        let pricing = self.pricing.check(&self.models, &mut mistakes);
        let runner = runner(
            self.runner.as_deref(),
            self.scripted,
            &self.models,
            slots,
            &mut mistakes,
        );
        mistakes.check(
            self.data.is_some() || default_data().is_some(),
            "data: is required where there is no home folder",
        );
        mistakes.finish()?;
        Ok(Config {
            exchange,
            exchange_ca: self.exchange_ca,
            api_key,
            data: self.data.or_else(default_data).unwrap_or_default(),
            models_cache: self.models_cache,
            region,
            slots,
            threads,
            models: self.models,
            tier_max,
            display_name,
            pricing,
            jobs_per_ask,
            reprice_after,
            reconnect,
            drain_within,
            runner,
        })
    }

    fn read_api_key(&self, mistakes: &mut Mistakes) -> Secret {
        let key = match (&self.api_key, &self.api_key_file) {
            (Some(_), Some(_)) => {
                mistakes.check(false, "api_key: is given twice, as api_key and as api_key_file");
                return Secret::default();
            }
            (Some(key), None) => key.expose().trim().to_owned(),
            (None, Some(path)) => mistakes
                .take("api_key_file", read_key(path))
                .unwrap_or_else(|| "unread".to_owned()),
            (None, None) => String::new(),
        };
        mistakes.check(
            !key.is_empty(),
            format!("api_key: is required: set {API_KEY_VARIABLE}, or name a file in `api_key_file`"),
        );
        mistakes.check(
            key.bytes().all(|byte| byte.is_ascii_graphic()),
            "api_key: has characters that no key has",
        );
        Secret::new(key)
    }
}

impl PricingFile {
    fn check(self, models: &[String], mistakes: &mut Mistakes) -> PricingRule {
        let mut read = |key: &str, text: Option<String>| {
            text.and_then(|text| mistakes.take(&format!("pricing.{key}"), text.parse::<Price>()))
        };
        let has_default = self.price.is_some();
        let default = read("price", self.price);
        let has_bounds = (self.floor.is_some(), self.ceiling.is_some());
        let floor = read("floor", self.floor);
        let ceiling = read("ceiling", self.ceiling);
        let mut prices = BTreeMap::new();
        for (model, text) in self.models {
            let price = read(&format!("models.\"{model}\""), Some(text)).unwrap_or(Price::MIN);
            prices.insert(model, price);
        }
        let unpriced = models.iter().find(|model| !prices.contains_key(*model));
        if let Some(model) = unpriced.filter(|_| !has_default) {
            mistakes.check(
                false,
                format!("pricing.price: is required, for `{model}` has no price of its own"),
            );
        }
        for model in prices.keys().filter(|model| !models.contains(model)) {
            mistakes.check(false, format!("pricing.models.\"{model}\": is not in `models`"));
        }
        mistakes.check(
            self.surcharge_percent <= SURCHARGE_PERCENT_MAX,
            format!("pricing.surcharge_percent: must be 0 to {SURCHARGE_PERCENT_MAX}"),
        );
        let bounds = (floor.unwrap_or(Price::MIN), ceiling.unwrap_or(Price::MAX));
        // A bound that did not parse was reported as that.
        let readable = has_bounds == (floor.is_some(), ceiling.is_some());
        if readable && bounds.0 > bounds.1 {
            mistakes.check(false, "pricing.floor: is above pricing.ceiling");
        } else if readable {
            for price in default.iter().chain(prices.values()) {
                mistakes.check(
                    (bounds.0..=bounds.1).contains(price),
                    format!("pricing: {price} is not between floor and ceiling"),
                );
            }
        }
        PricingRule {
            default: default.unwrap_or(Price::MIN),
            models: prices,
            floor: bounds.0,
            ceiling: bounds.1,
            surcharge_percent: self.surcharge_percent,
        }
    }
}

impl ScriptedFile {
    fn script(&self, model: &str, slots: u32) -> Script {
        let base = Script::default();
        Script {
            model_id: model.to_owned(),
            model_sha256: self.model_sha256.clone().unwrap_or(base.model_sha256),
            vocabulary_size: self.vocabulary_size.unwrap_or(base.vocabulary_size),
            context_length: self.context_length.unwrap_or(base.context_length),
            slots,
            first_token_after: Duration::from_micros(self.first_token_after_us),
            token_interval: Duration::from_micros(self.token_interval_us),
            stop_at: self.stop_at,
            fault: Fault::None,
        }
    }
}

fn runner(
    name: Option<&str>,
    scripted: Option<ScriptedFile>,
    models: &[String],
    slots: u32,
    mistakes: &mut Mistakes,
) -> RunnerChoice {
    match name.unwrap_or("candle") {
        "candle" => {
            mistakes.check(scripted.is_none(), "scripted: needs `runner = \"scripted\"`");
            mistakes.check(
                slots <= candle::SLOTS_MAX,
                format!("slots: candle runs at most {} jobs at once", candle::SLOTS_MAX),
            );
            RunnerChoice::Candle
        }
        "scripted" => {
            let scripted = scripted.unwrap_or_default();
            let digest = scripted.model_sha256.as_deref();
            mistakes.check(
                digest.is_none_or(|digest| domain::Digest::from_hex(digest).is_some()),
                "scripted.model_sha256: must be 64 lower-case hexadecimal digits",
            );
            mistakes.check(
                scripted.vocabulary_size != Some(0),
                "scripted.vocabulary_size: is zero",
            );
            mistakes.check(
                scripted.context_length != Some(0),
                "scripted.context_length: is zero",
            );
            RunnerChoice::Scripted(models.iter().map(|model| scripted.script(model, slots)).collect())
        }
        other => {
            mistakes.check(
                false,
                format!("runner: `{other}` is not a runner: candle or scripted"),
            );
            RunnerChoice::Candle
        }
    }
}

fn check_url(url: &str, mistakes: &mut Mistakes) {
    let authority = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    mistakes.check(
        authority.is_some_and(|authority| !authority.trim_end_matches('/').is_empty())
            && url.parse::<tonic::transport::Uri>().is_ok(),
        "exchange: must be a URL such as https://exchange.example or http://127.0.0.1:8080",
    );
}

fn check_region(region: &str, mistakes: &mut Mistakes) {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    mistakes.check(
        (1..=32).contains(&region.len()) && region.bytes().all(legal),
        "region: is required: a code such as eu-west, in lower-case letters, digits and hyphens",
    );
}

fn check_models(models: &[String], mistakes: &mut Mistakes) {
    mistakes.check(
        (1..=MODELS_MAX).contains(&models.len()),
        format!("models: must name 1 to {MODELS_MAX} models"),
    );
    for (index, model) in models.iter().enumerate() {
        mistakes.check(
            (1..=MODEL_NAME_MAX).contains(&model.chars().count()),
            format!("models: a name has 1 to {MODEL_NAME_MAX} characters"),
        );
        mistakes.check(
            !models[..index].contains(model),
            format!("models: `{model}` is named twice"),
        );
    }
}

fn bounded(key: &str, value: u32, most: u32, mistakes: &mut Mistakes) -> u32 {
    mistakes.check((1..=most).contains(&value), format!("{key}: must be 1 to {most}"));
    value
}

fn read_key(path: &Path) -> Result<String, String> {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .map_err(|error| format!("could not read {}: {error}", path.display()))
}

/// Where an Island keeps its key and earnings unless told otherwise; `None` for a user without a home.
#[must_use]
pub fn default_data() -> Option<PathBuf> {
    let folder = |variable| {
        env::var_os(variable)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    };
    folder("XDG_DATA_HOME")
        .or_else(|| Some(folder("HOME")?.join(".local/share")))
        .map(|data| data.join("atoll-island"))
}
