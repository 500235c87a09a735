//! Configuration files: TOML, read once and whole.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::de::DeserializeOwned;

/// The largest configuration file: beyond it, the path is a mistake.
const FILE_SIZE_MAX: u64 = 1 << 20;

/// Why a configuration could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("could not read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is too large to be a configuration.
    #[error("{} is larger than a configuration file may be ({FILE_SIZE_MAX} bytes)", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// The file is not TOML of the expected shape; the source names line and key.
    #[error("{} is not a valid configuration", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Values that parse and make no sense, all of them together.
    #[error("the configuration has {} mistake(s):\n{}", .0.len(), bullets(.0))]
    Mistakes(Vec<String>),
}

fn bullets(mistakes: &[String]) -> String {
    mistakes
        .iter()
        .map(|mistake| format!("  - {mistake}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Reads the file, or takes every default when there is none.
///
/// # Errors
/// When the file cannot be read, or is not TOML of the expected shape (unknown keys included, if `T` denies them).
pub fn load<T: DeserializeOwned + Default>(path: Option<&Path>) -> Result<T, ConfigError> {
    let Some(path) = path else { return Ok(T::default()) };
    let read = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(read)?.len() > FILE_SIZE_MAX {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
        });
    }
    let text = fs::read_to_string(path).map_err(read)?;
    toml::from_str(&text).map_err(|source| ConfigError::Parse {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

/// Collects every mistake of a configuration, so that one run shows them all.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<String>);

impl Mistakes {
    /// None so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes `mistake` unless `ok`.
    pub fn check(&mut self, ok: bool, mistake: impl Into<String>) {
        if !ok {
            self.0.push(mistake.into());
        }
    }

    /// Takes a value, or notes why there is none.
    pub fn take<T, E: std::fmt::Display>(&mut self, key: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|error| self.0.push(format!("{key}: {error}"))).ok()
    }

    /// Succeeds if nothing was noted.
    ///
    /// # Errors
    /// With every mistake that was noted.
    pub fn finish(self) -> Result<(), ConfigError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::Mistakes(self.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        listen: String,
    }

    fn load_text(text: &str) -> Result<Sample, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        load(Some(file.path()))
    }

    #[test]
    fn no_file_means_every_default() {
        assert_eq!(load::<Sample>(None).unwrap(), Sample::default());
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = load_text("lisen = 'x'").unwrap_err();
        let ConfigError::Parse { source, .. } = error else {
            panic!("{error}")
        };
        assert!(source.to_string().contains("lisen"), "{source}");
    }

    #[test]
    fn a_missing_or_oversized_file_is_an_error() {
        assert!(matches!(
            load::<Sample>(Some(Path::new("/nonexistent"))),
            Err(ConfigError::Read { .. })
        ));
        assert!(matches!(
            load_text(&"#".repeat(2 << 20)),
            Err(ConfigError::TooLarge { .. })
        ));
    }

    #[test]
    fn all_mistakes_are_reported_together() {
        let mut mistakes = Mistakes::new();
        mistakes.check(false, "listen: is empty");
        mistakes.take("port", "x".parse::<u16>());
        let text = mistakes.finish().unwrap_err().to_string();
        assert!(
            text.contains("2 mistake(s)") && text.contains("listen") && text.contains("port"),
            "{text}"
        );
    }
}
