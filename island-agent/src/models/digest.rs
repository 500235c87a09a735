//! Copies and hashes files in bounded pieces.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::progress::{Activity, Progress, Update};

/// How much is read at once: large enough that progress costs nothing.
const PIECE_BYTES: usize = 1 << 20;

/// Why weights were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// Reading or writing failed.
    #[error("could not read or write the weights")]
    Io(#[from] io::Error),
    /// There are more or fewer bytes than the manifest says.
    #[error("the weights have {bytes} bytes, the manifest says {expected}")]
    Size {
        /// The bytes that there are; one past the expected ones where reading stopped there.
        bytes: u64,
        /// What the manifest says.
        expected: u64,
    },
    /// The bytes are others than the manifest says.
    #[error("the weights have the digest {sha256}, the manifest says {expected}")]
    Mismatch {
        /// The digest of the bytes.
        sha256: String,
        /// What the manifest says.
        expected: String,
    },
}

/// What weights must be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) sha256: &'a str,
    pub(super) bytes: u64,
}

/// Passes `reader` on to `writer`, never more than expected, and checks size and digest.
pub(super) fn copy_verified(
    reader: &mut dyn Read,
    writer: &mut dyn Write,
    expected: Expected<'_>,
    activity: Activity<'_>,
    progress: &mut dyn Progress,
) -> Result<(), DigestError> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0_u8; PIECE_BYTES];
    let mut bytes = 0_u64;
    loop {
        let count = match reader.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        bytes = bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if bytes > expected.bytes {
            break;
        }
        hasher.update(&piece[..count]);
        writer.write_all(&piece[..count])?;
        progress.report(&Update {
            activity,
            bytes,
            bytes_total: Some(expected.bytes),
        });
    }
    if bytes != expected.bytes {
        return Err(DigestError::Size {
            bytes,
            expected: expected.bytes,
        });
    }
    let sha256 = hexadecimal(&hasher.finalize());
    if sha256 != expected.sha256 {
        return Err(DigestError::Mismatch {
            sha256,
            expected: expected.sha256.to_owned(),
        });
    }
    writer.flush()?;
    Ok(())
}

/// Checks the file at `path`.
pub(super) fn verify(
    path: &Path,
    expected: Expected<'_>,
    progress: &mut dyn Progress,
) -> Result<(), DigestError> {
    let mut file = File::open(path)?;
    copy_verified(
        &mut file,
        &mut io::sink(),
        expected,
        Activity::Verifying,
        progress,
    )
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
