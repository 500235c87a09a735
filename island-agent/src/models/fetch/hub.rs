//! Weights from a model hub.
//!
//! The hub's client has no timeout, so it runs on a thread of its own that is given up when no byte
//! comes for a while; it then ends with its connection, and its files go with the scratch folder.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use hf_hub::Cache;
use hf_hub::api::Progress as HubProgress;
use hf_hub::api::sync::{ApiBuilder, ApiError};

use crate::models::progress::{Activity, Progress, Update};

/// The longest time without a new byte.
const STALL_MAX: Duration = Duration::from_secs(60);

/// Why the hub did not deliver.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HubError {
    /// The client gave up.
    #[error("could not download {file}")]
    Api {
        /// Which file.
        file: String,
        /// What went wrong.
        #[source]
        source: Box<ApiError>,
    },
    /// The hub's file has another size; it was not downloaded.
    #[error("the hub's file has {bytes} bytes, the manifest says {expected}")]
    Size {
        /// What the hub says.
        bytes: u64,
        /// What the manifest says.
        expected: u64,
    },
    /// Nothing more came.
    #[error("no byte came for {} s", STALL_MAX.as_secs())]
    Stalled,
    /// The client's thread ended without an answer.
    #[error("the hub's client stopped")]
    Stopped,
}

/// A file on a hub.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) endpoint: Option<String>,
    pub(super) repository: String,
    pub(super) file: String,
}

enum Message {
    Bytes(u64),
    Finished(Result<PathBuf, HubError>),
}

/// Downloads into `scratch` and returns the file.
pub(super) fn download(
    place: Place,
    scratch: &Path,
    expected_bytes: u64,
    progress: &mut dyn Progress,
) -> Result<PathBuf, HubError> {
    let name = format!("{}/{}", place.repository, place.file);
    let folder = scratch.join("hub");
    let (sender, messages) = sync_channel(64);
    thread::Builder::new()
        .name("hub-download".to_owned())
        .spawn(move || {
            let result = run(&place, folder, expected_bytes, sender.clone());
            // The receiver may have given up on us; there is nobody else to tell.
            let _ = sender.send(Message::Finished(result));
        })
        .map_err(|_| HubError::Stopped)?;
    let mut bytes = 0_u64;
    loop {
        match messages.recv_timeout(STALL_MAX) {
            Ok(Message::Bytes(count)) => bytes = bytes.saturating_add(count),
            Ok(Message::Finished(result)) => return result,
            Err(RecvTimeoutError::Timeout) => return Err(HubError::Stalled),
            Err(RecvTimeoutError::Disconnected) => return Err(HubError::Stopped),
        }
        progress.report(&Update {
            activity: Activity::Fetching(&name),
            bytes,
            bytes_total: Some(expected_bytes),
        });
    }
}

fn run(
    place: &Place,
    folder: PathBuf,
    expected_bytes: u64,
    sender: SyncSender<Message>,
) -> Result<PathBuf, HubError> {
    let failed = |source| HubError::Api {
        file: place.file.clone(),
        source: Box::new(source),
    };
    let mut builder = ApiBuilder::from_cache(Cache::new(folder)).with_progress(false);
    if let Some(endpoint) = &place.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let api = builder.build().map_err(failed)?;
    let repository = api.model(place.repository.clone());
    let metadata = api.metadata(&repository.url(&place.file)).map_err(failed)?;
    let bytes = u64::try_from(metadata.size()).unwrap_or(u64::MAX);
    if bytes != expected_bytes {
        return Err(HubError::Size {
            bytes,
            expected: expected_bytes,
        });
    }
    let counter = Counter { sender };
    repository
        .download_with_progress(&place.file, counter)
        .map_err(failed)
}

/// Passes on how many bytes came.
struct Counter {
    sender: SyncSender<Message>,
}

impl HubProgress for Counter {
    fn init(&mut self, _: usize, _: &str) {}

    fn update(&mut self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let _ = self.sender.send(Message::Bytes(count));
    }

    fn finish(&mut self) {}
}
