//! The flags of `run`, laid over the file.

use std::path::PathBuf;

use clap::Args;
use service::config::{self, ConfigError};
use service::secret::Secret;

use super::{Config, File};

/// Sells this machine's inference on an exchange.
///
/// Everything can stand in a TOML file (`--config`); a flag wins over the file. What is needed at least: a region,
/// a model, a price, and the API key of the account that earns.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// The configuration file, in TOML.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The exchange's URL.
    #[arg(long, value_name = "URL")]
    pub exchange: Option<String>,
    /// The API key of the account that earns. Others can see a flag: prefer the variable or --api-key-file.
    #[arg(long, value_name = "KEY", env = "ATOLL_API_KEY", hide_env_values = true)]
    pub api_key: Option<Secret>,
    /// A file that holds the API key.
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// The folder of the Island's key and earnings, one for each Island.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The folder of downloaded models, which Islands may share.
    #[arg(long, value_name = "DIR")]
    pub models_cache: Option<PathBuf>,
    /// Where this machine is, such as eu-west.
    #[arg(long, value_name = "CODE")]
    pub region: Option<String>,
    /// A model to offer; may be repeated.
    #[arg(long = "model", value_name = "ID")]
    pub models: Vec<String>,
    /// Credits per 1,000 work units, such as 0.02.
    #[arg(long, value_name = "CREDITS", allow_hyphen_values = true)]
    pub price: Option<String>,
    /// Jobs to run at once [default: 1]
    #[arg(long, value_name = "COUNT")]
    pub slots: Option<u32>,
    /// Inference threads [default: 1]
    #[arg(long, value_name = "COUNT")]
    pub threads: Option<u32>,
    /// The highest tier to sell as: phone, laptop, desktop, workstation or server.
    #[arg(long, value_name = "TIER")]
    pub tier_max: Option<String>,
    /// A name for people.
    #[arg(long, value_name = "NAME")]
    pub display_name: Option<String>,
    /// What computes: candle, or scripted (made-up tokens, for tests and load only).
    #[arg(long, value_name = "RUNNER")]
    pub runner: Option<String>,
    /// Print each change of state to standard output, as a line of JSON.
    #[arg(long)]
    pub json: bool,
    /// End when the process of this id, which started this one, ends.
    #[arg(long, value_name = "PID", hide = true)]
    pub die_with_parent: Option<u32>,
}

impl RunArgs {
    /// Reads the file, lays the flags over it, and checks everything.
    ///
    /// # Errors
    /// When the file cannot be used, or with every mistake in the values.
    pub fn load(self) -> Result<Config, ConfigError> {
        let file: File = config::load(self.config.as_deref())?;
        self.over(file).check()
    }

    fn over(self, mut file: File) -> File {
        if self.api_key.is_some() || self.api_key_file.is_some() {
            // The file's key gives way to whichever came by flag or variable.
            file.api_key = None;
            file.api_key_file = None;
        }
        // A file named on the command line is more deliberate than an inherited variable.
        file.api_key_file = self.api_key_file.or(file.api_key_file);
        if file.api_key_file.is_none() {
            file.api_key = self.api_key.or(file.api_key);
        }
        file.exchange = self.exchange.or(file.exchange);
        file.data = self.data.or(file.data);
        file.models_cache = self.models_cache.or(file.models_cache);
        file.region = self.region.or(file.region);
        file.slots = self.slots.or(file.slots);
        file.threads = self.threads.or(file.threads);
        file.tier_max = self.tier_max.or(file.tier_max);
        file.display_name = self.display_name.or(file.display_name);
        file.runner = self.runner.or(file.runner);
        file.pricing.price = self.price.or(file.pricing.price);
        if !self.models.is_empty() {
            file.models = self.models;
        }
        file
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const WHOLE: &str = r#"
        exchange = "https://exchange.example"
        api_key = "atoll_sk_1"
        data = "/tmp/island"
        region = "eu-west"
        slots = 2
        threads = 3
        models = ["small", "big"]
        tier_max = "laptop"
        display_name = "the old laptop"
        drain_within_ms = 5000
        [pricing]
        price = "0.02"
        floor = "0.01"
        ceiling = "0.9"
        surcharge_percent = 10
        jobs_per_ask = 50
        [pricing.models]
        big = "0.5"
    "#;

    fn load(text: &str, args: RunArgs) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("island.toml");
        fs::write(&path, text).unwrap();
        let args = RunArgs {
            config: Some(path),
            ..args
        };
        args.load()
    }

    #[test]
    fn a_whole_file_is_read() {
        let config = load(WHOLE, RunArgs::default()).unwrap();
        assert_eq!((config.slots, config.threads), (2, 3));
        assert_eq!(config.pricing.price("big", 1).to_string(), "0.55");
        assert_eq!(config.jobs_per_ask, 50);
        assert_eq!(config.api_key.expose(), "atoll_sk_1");
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let args = RunArgs {
            region: Some("us-east".to_owned()),
            price: Some("0.03".to_owned()),
            api_key: Some(Secret::new("atoll_sk_2")),
            ..RunArgs::default()
        };
        let config = load(WHOLE, args).unwrap();
        assert_eq!(config.region, "us-east");
        assert_eq!(config.pricing.price("small", 0).to_string(), "0.03");
        assert_eq!(config.api_key.expose(), "atoll_sk_2");
    }

    #[test]
    fn a_key_file_is_trimmed_and_wins_over_the_variable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "atoll_sk_3\n").unwrap();
        let args = RunArgs {
            api_key: Some(Secret::new("from the variable")),
            api_key_file: Some(path),
            ..RunArgs::default()
        };
        assert_eq!(load(WHOLE, args).unwrap().api_key.expose(), "atoll_sk_3");
    }

    #[test]
    fn all_mistakes_are_reported_together() {
        let text = r#"
            exchange = "ftp://x"
            region = "EU West"
            slots = 0
            threads = 9999
            models = ["a", "a"]
            tier_max = "toaster"
            display_name = ""
            runner = "abacus"
            drain_within_ms = 0
            [pricing]
            price = "free"
            floor = "0.2"
            ceiling = "0.1"
            jobs_per_ask = 0
            surcharge_percent = 5000
            [pricing.models]
            other = "0.1"
            [reconnect]
            first_ms = 60000
        "#;
        let Err(ConfigError::Mistakes(mistakes)) = load(text, RunArgs::default()) else {
            panic!("a file of mistakes is refused");
        };
        let all = mistakes.join("\n");
        for key in [
            "api_key:",
            "exchange:",
            "region:",
            "slots:",
            "threads:",
            "models: `a` is named twice",
            "tier_max:",
            "display_name:",
            "runner: `abacus`",
            "drain_within_ms:",
            "pricing.price:",
            "pricing.floor: is above",
            "pricing.jobs_per_ask:",
            "pricing.surcharge_percent:",
            "pricing.models.\"other\":",
            "reconnect.first_ms:",
        ] {
            assert!(all.contains(key), "no `{key}` in:\n{all}");
        }
        assert_eq!(mistakes.len(), 16, "{all}");
    }

    #[test]
    fn an_unknown_key_is_a_mistake() {
        for text in ["pirce = 1", "[pricing]\npirce = '1'", "[scripted]\nx = 1"] {
            assert!(matches!(
                load(text, RunArgs::default()),
                Err(ConfigError::Parse { .. })
            ));
        }
    }

    #[test]
    fn a_price_is_required_and_lies_between_floor_and_ceiling() {
        let text = WHOLE.replace("price = \"0.02\"\n", "");
        let error = load(&text, RunArgs::default()).unwrap_err().to_string();
        assert!(error.contains("`small` has no price of its own"), "{error}");
        let text = WHOLE.replace("ceiling = \"0.9\"", "ceiling = \"0.4\"");
        let error = load(&text, RunArgs::default()).unwrap_err().to_string();
        assert!(error.contains("0.5 is not between"), "{error}");
    }

    #[test]
    fn made_up_tokens_must_be_asked_for_by_name() {
        let text = format!("{WHOLE}\n[scripted]\nstop_at = 4\n");
        let error = load(&text, RunArgs::default()).unwrap_err().to_string();
        assert!(error.contains("needs `runner = \"scripted\"`"), "{error}");
        let args = RunArgs {
            runner: Some("scripted".to_owned()),
            ..RunArgs::default()
        };
        assert!(matches!(
            load(&text, args).unwrap().runner,
            crate::config::RunnerChoice::Scripted(scripts) if scripts.len() == 2 && scripts[0].stop_at == Some(4)
        ));
    }

    #[test]
    fn a_configuration_never_prints_the_key() {
        let config = load(WHOLE, RunArgs::default()).unwrap();
        assert!(!format!("{config:?}").contains("atoll_sk_1"));
    }
}
