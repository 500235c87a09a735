//! Readies the models that an Island offers: in place, loaded, measured.
//!
//! Blocks for seconds to minutes, so it runs on a thread of its own.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, ensure};
use domain::Digest;

use crate::benchmark::{Measured, Speed, measure_once};
use crate::config::{Config, RunnerChoice};
use crate::models::manifest::{Manifest, ModelId};
use crate::models::progress::TerminalProgress;
use crate::models::store::ModelStore;
use runner::ChatRunner;
use runner::candle::{CandleOptions, CandleRunner};
use runner::scripted::{Script, ScriptedRunner};

/// A model that is ready to run.
pub struct Prepared {
    /// What runs it.
    pub runner: Arc<dyn ChatRunner>,
    /// SHA-256 of its weights.
    pub digest: Digest,
    /// Output tokens a second, by this machine's own measurement.
    pub decode_per_second: f64,
    /// Prompt tokens a second.
    pub prefill_per_second: f64,
}

impl Prepared {
    /// A runner with its speed.
    ///
    /// # Errors
    /// When the runner names no SHA-256.
    pub fn new(runner: Arc<dyn ChatRunner>, speed: Speed) -> anyhow::Result<Self> {
        let text = &runner.description().model_sha256;
        let digest = Digest::from_hex(text).ok_or_else(|| anyhow!("`{text}` is no SHA-256 of weights"))?;
        Ok(Self {
            runner,
            digest,
            decode_per_second: speed.decode_per_second.into(),
            prefill_per_second: speed.prefill_per_second.into(),
        })
    }

    /// The model's id.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.runner.description().model_id
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prepared({})", self.model())
    }
}

/// Readies every model of the configuration.
///
/// # Errors
/// When a model is unknown, cannot be fetched or loaded, or does not run.
pub(crate) fn prepare(config: &Config) -> anyhow::Result<Vec<Prepared>> {
    match &config.runner {
        RunnerChoice::Scripted(scripts) => {
            tracing::warn!("SCRIPTED RUNNER: the tokens are made up; for tests and load only");
            scripts.iter().map(prepare_scripted).collect()
        }
        RunnerChoice::Candle => {
            let store = match &config.models_cache {
                Some(folder) => {
                    ModelStore::at(folder.clone()).with_environment(|name| std::env::var_os(name))
                }
                None => ModelStore::per_user(|name| std::env::var_os(name))?,
            };
            let models = config.models.iter();
            models
                .map(|model| {
                    prepare_candle(config, &store, model).with_context(|| format!("model `{model}`"))
                })
                .collect()
        }
    }
}

fn prepare_scripted(script: &Script) -> anyhow::Result<Prepared> {
    let runner = ScriptedRunner::new(script.clone());
    // What the script sets is not worth measuring.
    let micros = script.token_interval.as_micros().max(1);
    let decode_per_second = u32::try_from(1_000_000_u128.div_ceil(micros)).unwrap_or(u32::MAX);
    let speed = Speed {
        prefill_per_second: decode_per_second,
        decode_per_second,
    };
    Prepared::new(Arc::new(runner), speed)
}

fn prepare_candle(config: &Config, store: &ModelStore, model: &str) -> anyhow::Result<Prepared> {
    let id = ModelId::parse(model)?;
    let manifest = Manifest::built_in(&id).ok_or_else(|| {
        let known: Vec<String> = Manifest::all_built_in()
            .iter()
            .map(|manifest| manifest.id.to_string())
            .collect();
        anyhow!("is not known; this program knows {}", known.join(", "))
    })?;
    tracing::info!(%model, folder = %store.root().display(), "loading the model");
    let installed = store.ensure_installed(&manifest, &mut TerminalProgress::new(model))?;
    let runner = CandleRunner::load(CandleOptions {
        model_id: model.to_owned(),
        model_sha256: manifest.weights_sha256.clone(),
        weights: installed.weights(),
        context_length_max: manifest.context_length,
        slots: config.slots,
    })?;
    let described = runner.description();
    if described.thread_count != config.threads {
        tracing::warn!(
            asked = config.threads,
            has = described.thread_count,
            "the thread count was fixed before this Island started"
        );
    }
    let speed = benchmark(&runner, store.root())?;
    Prepared::new(Arc::new(runner), speed)
}

fn benchmark(runner: &CandleRunner, folder: &Path) -> anyhow::Result<Speed> {
    tracing::info!(model = %runner.description().model_id, "benchmarking");
    let measured = measure_once(runner, folder)?;
    let speed = measured.speed();
    ensure!(
        speed.decode_per_second > 0,
        "this machine is too slow for the model"
    );
    let decode = speed.decode_per_second;
    let prefill = speed.prefill_per_second;
    match measured {
        Measured::Now(_) => tracing::info!(decode, prefill, "measured, in tokens a second"),
        Measured::Before(_) => tracing::info!(decode, prefill, "measured before, in tokens a second"),
    }
    Ok(speed)
}
