//! The configuration as it is written: a TOML table, walked key by key so that every mistake is found in one go.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use domain::{RegionTable, RoundTrip};
use service::config::{ConfigError, Mistakes};
use service::secret::Secret;
use toml::{Table, Value};

use super::{Config, GatewayLimits, Models, built_in_regions};
use crate::sequencer::Retention;

/// The longest that any span in the configuration may be: beyond it the unit was mistaken.
const SECONDS_MAX: u64 = 3_600;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A table of the configuration that is being emptied key by key.
struct Keys<'a> {
    path: &'static str,
    table: Table,
    mistakes: &'a mut Mistakes,
}

/// Checks the whole table.
pub(super) fn read(mut table: Table) -> Result<Config, ConfigError> {
    let mut mistakes = Mistakes::new();
    let billing = section(&mut table, "billing", &mut mistakes);
    let regions = section(&mut table, "regions", &mut mistakes);
    let limits = section(&mut table, "limits", &mut mistakes);

    let regions = match regions {
        Some(written) => read_regions(written, &mut mistakes),
        None => built_in_regions(),
    };
    let mut keys = Keys::new("", table, &mut mistakes);
    let data_dir = keys
        .text("data_dir")
        .unwrap_or_else(|| super::DATA_DIR.to_owned());
    let models_dir = keys
        .text("models_dir")
        .map_or_else(super::default_models_dir, PathBuf::from);
    let mut config = Config::new(Path::new(&data_dir), &models_dir, Secret::default());
    let mut keep_days: u32 = 0;
    keys.number("journal_keep_days", &mut keep_days);
    if keep_days > 0 {
        config.retention = Retention::For(DAY.saturating_mul(keep_days));
    }
    let mut check_days: u32 = 0;
    keys.number("journal_check_days", &mut check_days);
    if check_days > 0 {
        config.journal_check_period = DAY.saturating_mul(check_days);
    }
    if let Some(listen) = keys.parsed("listen") {
        config.listen = listen;
    }
    if let Some(models) = keys.texts("models") {
        keys.check(
            !models.is_empty(),
            "models",
            "is empty: leave it out for all that are installed",
        );
        config.models = Models::Only(models);
    }
    config.operator_token = keys.secret("operator_token");
    let region = keys.text("region").unwrap_or_else(|| super::REGION.to_owned());
    match regions.find(&region) {
        Some(found) => config.region = found,
        None => keys.mistake("region", format!("`{region}` is not one of {regions}")),
    }
    keys.finish();
    config.regions = regions;
    config.limits = read_limits(limits.unwrap_or_default(), &mut mistakes);
    read_billing(billing.unwrap_or_default(), &mut config, &mut mistakes);
    mistakes.finish()?;
    Ok(config)
}

fn section(table: &mut Table, key: &'static str, mistakes: &mut Mistakes) -> Option<Table> {
    let value = table.remove(key)?;
    let kind = value.type_str();
    if let Value::Table(inner) = value {
        return Some(inner);
    }
    mistakes.check(false, format!("{key}: is a {kind}, not a table"));
    None
}

fn read_billing(written: Table, config: &mut Config, mistakes: &mut Mistakes) {
    let mut keys = Keys::new("billing.", written, mistakes);
    if let Some(url) = keys.text("url") {
        let is_url = url.starts_with("http://") || url.starts_with("https://");
        keys.check(is_url, "url", "begins with http:// or https://");
        config.billing_url = url;
    }
    match keys.secret("token") {
        Some(token) => config.billing_token = token,
        None => keys.mistake("token", "is required: the token that billing was started with"),
    }
    keys.finish();
}

fn read_regions(written: Table, mistakes: &mut Mistakes) -> RegionTable {
    let mut keys = Keys::new("regions.", written, mistakes);
    let codes = keys.texts("codes");
    let rows = keys.rows("round_trips_ms");
    keys.check(codes.is_some(), "codes", "is required: the regions' codes");
    keys.check(
        rows.is_some(),
        "round_trips_ms",
        "is required: a row of milliseconds for each region",
    );
    keys.finish();
    let (Some(codes), Some(rows)) = (codes, rows) else {
        return built_in_regions();
    };
    mistakes
        .take("regions", RegionTable::new(codes, rows))
        .unwrap_or_else(built_in_regions)
}

fn read_limits(written: Table, mistakes: &mut Mistakes) -> GatewayLimits {
    let mut limits = GatewayLimits::default();
    let mut sign_ups_per_hour = limits.sign_ups_per_hour.get();
    let mut keys = Keys::new("limits.", written, mistakes);
    keys.number("jobs_per_account_max", &mut limits.jobs_per_account_max);
    keys.number("jobs_max", &mut limits.jobs_max);
    keys.number("body_bytes_max", &mut limits.body_bytes_max);
    keys.number("sign_ups_per_hour", &mut sign_ups_per_hour);
    keys.number("connections_max", &mut limits.connections_max);
    keys.seconds("request_read_timeout_s", &mut limits.request_read_timeout);
    keys.seconds("stream_stall_timeout_s", &mut limits.stream_stall_timeout);
    keys.seconds("session_resume_within_s", &mut limits.session_resume_within);
    keys.number("session_report_bytes_max", &mut limits.session_report_bytes_max);
    keys.seconds("key_kept_s", &mut limits.key_kept);
    keys.seconds("drain_timeout_s", &mut limits.drain_timeout);
    keys.finish();
    limits.sign_ups_per_hour = NonZeroU32::new(sign_ups_per_hour).unwrap_or(limits.sign_ups_per_hour);
    limits
}

impl<'a> Keys<'a> {
    fn new(path: &'static str, table: Table, mistakes: &'a mut Mistakes) -> Self {
        Self {
            path,
            table,
            mistakes,
        }
    }

    fn mistake(&mut self, key: &str, problem: impl Display) {
        self.mistakes
            .check(false, format!("{}{key}: {problem}", self.path));
    }

    fn check(&mut self, ok: bool, key: &str, problem: &str) {
        if !ok {
            self.mistake(key, problem);
        }
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let value = self.table.remove(key)?;
        let kind = value.type_str();
        let Value::String(text) = value else {
            self.mistake(key, format!("is a {kind}, not a string"));
            return None;
        };
        if text.is_empty() {
            self.mistake(key, "is empty");
            return None;
        }
        Some(text)
    }

    fn secret(&mut self, key: &str) -> Option<Secret> {
        let text = self.text(key)?;
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            self.mistake(key, "has spaces or control characters");
            return None;
        }
        Some(Secret::new(text))
    }

    fn parsed<T: FromStr>(&mut self, key: &str) -> Option<T>
    where
        T::Err: Display,
    {
        let text = self.text(key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(key, format!("`{text}`: {error}"));
                None
            }
        }
    }

    fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let value = self.table.remove(key)?;
        let texts = value.as_array().and_then(|array| {
            array
                .iter()
                .map(|item| item.as_str().map(ToOwned::to_owned))
                .collect()
        });
        if texts.is_none() {
            self.mistake(key, "is not a list of strings");
        }
        texts
    }

    fn rows(&mut self, key: &str) -> Option<Vec<Vec<RoundTrip>>> {
        let value = self.table.remove(key)?;
        let millis = |item: &Value| item.as_integer().and_then(|ms| u16::try_from(ms).ok());
        let row = |row: &Value| -> Option<Vec<RoundTrip>> {
            let cells = row.as_array()?.iter();
            cells
                .map(|item| millis(item).map(RoundTrip::from_millis))
                .collect()
        };
        let rows = value.as_array().and_then(|rows| rows.iter().map(row).collect());
        if rows.is_none() {
            self.mistake(key, "is not a list of rows of milliseconds, 0 to 65535");
        }
        rows
    }

    fn number<T: TryFrom<i64> + Copy>(&mut self, key: &str, target: &mut T) {
        let Some(value) = self.table.remove(key) else {
            return;
        };
        let number = value.as_integer().filter(|number| *number > 0);
        match number.and_then(|number| T::try_from(number).ok()) {
            Some(number) => *target = number,
            None => self.mistake(key, "is not a whole number from 1 that fits"),
        }
    }

    fn seconds(&mut self, key: &str, target: &mut Duration) {
        let mut seconds = target.as_secs();
        self.number(key, &mut seconds);
        self.check(seconds <= SECONDS_MAX, key, "is more than an hour");
        *target = Duration::from_secs(seconds);
    }

    /// Notes every key that nothing has asked for.
    fn finish(mut self) {
        let unknown: Vec<String> = self.table.keys().cloned().collect();
        for key in unknown {
            self.mistake(&key, "is not a key of this configuration");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Config, Vec<String>> {
        read(text.parse().unwrap()).map_err(|error| match error {
            ConfigError::Mistakes(mistakes) => mistakes,
            other @ (ConfigError::Read { .. } | ConfigError::TooLarge { .. } | ConfigError::Parse { .. }) => {
                vec![other.to_string()]
            }
        })
    }

    #[test]
    fn the_billing_token_is_the_one_key_without_a_default() {
        assert_eq!(
            read_text("").unwrap_err(),
            ["billing.token: is required: the token that billing was started with"]
        );
        let config = read_text("[billing]\ntoken = 't'").unwrap();
        assert_eq!(config.listen, crate::config::LISTEN);
        assert_eq!(config.regions.code(config.region), Some(crate::config::REGION));
        assert_eq!(config.limits, GatewayLimits::default());
    }

    #[test]
    fn the_sample_names_every_key_with_its_default() {
        let sample = read_text(crate::config::SAMPLE).unwrap();
        let defaults = read_text("[billing]\ntoken = '…'").unwrap();
        assert_eq!(format!("{sample:?}"), format!("{defaults:?}"));
        let commented = crate::config::SAMPLE
            .replace("# models", "models")
            .replace("# journal", "journal")
            .replace("# operator", "operator");
        let all = commented
            .replace("# [regions]", "[regions]")
            .replace("# codes", "codes")
            .replace("# round", "round");
        let all = read_text(&all).unwrap();
        assert_eq!(all.regions.to_string(), "eu-west, us-east");
        assert!(all.operator_token.is_some() && all.models != Models::Installed);
        assert_eq!(all.retention, Retention::For(400 * DAY));
    }

    #[test]
    fn every_mistake_is_reported_in_one_go() {
        let mistakes = read_text(
            "listen = 'here'\nregion = 'moon'\nmodels = []\nlisten_on = 1\noperator_token = 'a b'\n\
             [billing]\nurl = 'ftp://x'\ntoken = 5\nport = 1\n\
             [limits]\njobs_max = 0\nbody_bytes_max = -1\ndrain_timeout_s = 4000\njobs_per_account_max = 5000000000\n",
        )
        .unwrap_err();
        for key in [
            "listen:",
            "region:",
            "models:",
            "listen_on:",
            "operator_token:",
            "billing.url:",
            "billing.token:",
            "billing.port:",
            "limits.jobs_max:",
            "limits.body_bytes_max:",
            "limits.drain_timeout_s:",
            "limits.jobs_per_account_max:",
        ] {
            assert!(
                mistakes.iter().any(|m| m.starts_with(key)),
                "{key} in {mistakes:?}"
            );
        }
    }

    #[test]
    fn a_region_table_of_ones_own_replaces_the_built_in_one() {
        let config = read_text(
            "region = 'b'\n[billing]\ntoken='t'\n[regions]\ncodes=['a','b']\nround_trips_ms=[[1,9],[9,1]]",
        )
        .unwrap();
        assert_eq!(config.regions.to_string(), "a, b");
        let broken = read_text(
            "region = 'b'\n[billing]\ntoken='t'\n[regions]\ncodes=['a','b']\nround_trips_ms=[[1,9],[8,1]]",
        );
        assert!(broken.unwrap_err()[0].contains("not the same both ways"));
        let half = read_text("[billing]\ntoken='t'\n[regions]\nround_trips_ms=[[70000]]").unwrap_err();
        assert!(half.iter().any(|m| m.starts_with("regions.codes:")), "{half:?}");
        assert!(
            half.iter().any(|m| m.starts_with("regions.round_trips_ms:")),
            "{half:?}"
        );
    }

    #[test]
    fn secrets_do_not_print_with_the_configuration() {
        let config = read_text("operator_token = 'hush'\n[billing]\ntoken = 'silence'").unwrap();
        let printed = format!("{config:?}");
        assert!(
            !printed.contains("hush") && !printed.contains("silence"),
            "{printed}"
        );
    }
}
