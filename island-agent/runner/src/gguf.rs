//! Reads a GGUF file's header, with every bound checked before anything is loaded.
//!
//! A file whose digest is pinned by a manifest should be harmless, but a manifest may name any
//! file; so counts, names, shapes and offsets are checked against the file's own size first.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{Content, Value};

/// More tensors than any llama checkpoint has (126 layers of nine, thrice over).
const TENSOR_COUNT_MAX: u64 = 4_096;
/// More metadata entries than any checkpoint has.
const METADATA_COUNT_MAX: u64 = 1_024;
/// The versions that are understood.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;

/// Why a weights file was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The file cannot be read.
    #[error("could not read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{path} is not a GGUF file")]
    NotGguf {
        /// Which file.
        path: PathBuf,
    },
    /// It is of a version that is not understood.
    #[error("{path} has GGUF version {version}; 2 and 3 are understood")]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// It declares more than any model has.
    #[error("{path} declares {count} {what}, at most {count_max} are accepted")]
    TooMany {
        /// Which file.
        path: PathBuf,
        /// What there is too much of.
        what: &'static str,
        /// What the file declares.
        count: u64,
        /// The bound.
        count_max: u64,
    },
    /// The header contradicts itself or the file's size.
    #[error("the header of {path} is malformed or the file is truncated: {reason}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A metadata entry that is needed is absent or of another type.
    #[error("{path} has no usable metadata entry {key}")]
    Metadata {
        /// Which file.
        path: PathBuf,
        /// Which entry.
        key: String,
    },
}

/// A checked header, and the file that it came from.
#[derive(Debug)]
pub struct Header {
    path: PathBuf,
    content: Content,
}

impl Header {
    /// Reads and checks the header of the file at `path`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is no GGUF file, or contradicts itself.
    pub fn read(path: &Path) -> Result<Self, HeaderError> {
        let read_error = |source| HeaderError::Read {
            path: path.to_owned(),
            source,
        };
        let malformed = |reason: String| HeaderError::Malformed {
            path: path.to_owned(),
            reason,
        };
        let file = File::open(path).map_err(read_error)?;
        let size = file.metadata().map_err(read_error)?.len();
        let mut reader = BufReader::new(file);
        check_counts(path, &mut reader)?;
        reader.rewind().map_err(read_error)?;
        // The parser divides by the alignment that the file states: a file that says zero panics.
        let content = catch_unwind(AssertUnwindSafe(|| Content::read(&mut reader)))
            .map_err(|_| malformed("the parser gave up".to_owned()))?
            .map_err(|error| malformed(error.to_string()))?;
        check_tensors(&content, size).map_err(malformed)?;
        Ok(Self {
            path: path.to_owned(),
            content,
        })
    }

    /// The parsed header.
    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// The file that it came from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A text entry.
    ///
    /// # Errors
    ///
    /// When there is none of this name, or it is something else.
    pub fn text(&self, key: &str) -> Result<&str, HeaderError> {
        let text = self.value(key)?.to_string();
        text.map(String::as_str).map_err(|_| self.missing(key))
    }

    /// A whole number of any width.
    pub(crate) fn number(&self, key: &str) -> Result<u32, HeaderError> {
        let number = self.value(key)?.to_u64();
        let number = number.map_err(|_| self.missing(key))?;
        u32::try_from(number).map_err(|_| self.missing(key))
    }

    /// A single-precision number.
    pub(crate) fn float(&self, key: &str) -> Result<f32, HeaderError> {
        let float = self.value(key)?.to_f32();
        float.map_err(|_| self.missing(key))
    }

    /// A list of texts.
    ///
    /// # Errors
    ///
    /// When there is none of this name, or it holds something else.
    pub fn texts(&self, key: &str) -> Result<Vec<&str>, HeaderError> {
        self.list(key)?
            .iter()
            .map(|value| {
                value
                    .to_string()
                    .map(String::as_str)
                    .map_err(|_| self.missing(key))
            })
            .collect()
    }

    /// A list of whole numbers. Writers differ on whether small ones are signed.
    ///
    /// # Errors
    ///
    /// When there is none of this name, or it holds something else.
    pub fn numbers(&self, key: &str) -> Result<Vec<i64>, HeaderError> {
        let number = |value: &Value| {
            let unsigned = value.to_u32().ok().map(i64::from);
            unsigned.or_else(|| value.to_i32().ok().map(i64::from))
        };
        self.list(key)?
            .iter()
            .map(|value| number(value).ok_or_else(|| self.missing(key)))
            .collect()
    }

    /// A list.
    pub(crate) fn list(&self, key: &str) -> Result<&[Value], HeaderError> {
        let list = self.value(key)?.to_vec();
        list.map(Vec::as_slice).map_err(|_| self.missing(key))
    }

    /// Whether there is such an entry.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.content.metadata.contains_key(key)
    }

    fn value(&self, key: &str) -> Result<&Value, HeaderError> {
        let value = self.content.metadata.get(key);
        value.ok_or_else(|| self.missing(key))
    }

    fn missing(&self, key: &str) -> HeaderError {
        HeaderError::Metadata {
            path: self.path.clone(),
            key: key.to_owned(),
        }
    }
}

/// Reads magic, version and the two counts, and refuses what is beyond reason.
fn check_counts(path: &Path, reader: &mut impl Read) -> Result<(), HeaderError> {
    let mut start = [0_u8; 24];
    if reader.read_exact(&mut start).is_err() || !start.starts_with(b"GGUF") {
        return Err(HeaderError::NotGguf {
            path: path.to_owned(),
        });
    }
    let [_, _, _, _, v0, v1, v2, v3, counts @ ..] = start;
    let version = u32::from_le_bytes([v0, v1, v2, v3]);
    if !VERSIONS.contains(&version) {
        return Err(HeaderError::Version {
            path: path.to_owned(),
            version,
        });
    }
    let (counts, _) = counts.as_chunks::<8>();
    let bounds = [
        ("tensors", TENSOR_COUNT_MAX),
        ("metadata entries", METADATA_COUNT_MAX),
    ];
    for (count, (what, count_max)) in counts.iter().zip(bounds) {
        let count = u64::from_le_bytes(*count);
        if count > count_max {
            return Err(HeaderError::TooMany {
                path: path.to_owned(),
                what,
                count,
                count_max,
            });
        }
    }
    Ok(())
}

/// Checks that every tensor lies inside the file.
fn check_tensors(content: &Content, size: u64) -> Result<(), String> {
    for (name, info) in &content.tensor_infos {
        let elements = info
            .shape
            .dims()
            .iter()
            .try_fold(1_usize, |product, &length| product.checked_mul(length));
        let bytes = elements
            .and_then(|count| count.checked_div(info.ggml_dtype.block_size()))
            .and_then(|blocks| blocks.checked_mul(info.ggml_dtype.type_size()))
            .and_then(|bytes| u64::try_from(bytes).ok());
        let end = bytes
            .and_then(|bytes| bytes.checked_add(info.offset))
            .and_then(|end| end.checked_add(content.tensor_data_offset));
        if end.is_none_or(|end| end > size) {
            return Err(format!("tensor {name:?} ends beyond the file's {size} bytes"));
        }
    }
    Ok(())
}
