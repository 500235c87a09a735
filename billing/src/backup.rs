//! Backups of books in a SQLite file: taken while billing runs, and checked before anybody relies on them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::config::{OwnedFolder, database_in};
use crate::store::AuditReport;
use crate::store::sqlite::SqliteStore;

/// What cannot be done with a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file is there already.
    #[error("{} is there already: a backup is never written over; name another file, or move this one away", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The books in it contradict themselves.
    #[error("the books in {} are not clean, so nothing was done with them: {}", path.display(), findings.join("; "))]
    NotClean {
        /// The file.
        path: PathBuf,
        /// What the audit found.
        findings: Vec<String>,
    },
}

/// Copies the books in `data_dir`, as they are at one moment, to `file`, and audits the copy. Billing may run.
///
/// # Errors
/// When `file` is there already, the books cannot be read, the copy cannot be written, or it is not clean; then it is not
/// left behind.
pub async fn backup(data_dir: &Path, file: &Path) -> anyhow::Result<AuditReport> {
    refuse_existing(file)?;
    let draft = draft_of(file);
    remove_if_there(&draft)?;
    let copied = copy_and_check(&database_in(data_dir), &draft).await;
    let report = match copied {
        Ok(report) => report,
        Err(error) => {
            remove_if_there(&draft)?;
            return Err(error);
        }
    };
    put_in_place(&draft, file)?;
    Ok(report)
}

async fn copy_and_check(books: &Path, draft: &Path) -> anyhow::Result<AuditReport> {
    SqliteStore::copy_file(books, draft).await?;
    checked(draft).await
}

/// Makes the books in `file` those of `data_dir`, which must have none. Billing must not run there.
///
/// # Errors
/// When the folder is in use or has books, `file` is not clean, or it cannot be copied.
pub async fn restore(file: &Path, data_dir: &Path) -> anyhow::Result<AuditReport> {
    let _owned = OwnedFolder::take(data_dir)?;
    let books = database_in(data_dir);
    for suffix in ["", "-wal", "-shm"] {
        let mut path = books.clone().into_os_string();
        path.push(suffix);
        refuse_existing(Path::new(&path))?;
    }
    let draft = draft_of(&books);
    remove_if_there(&draft)?;
    fs::copy(file, &draft).with_context(|| format!("could not copy {}", file.display()))?;
    let report = match checked(&draft).await {
        Ok(report) => report,
        Err(error) => {
            remove_if_there(&draft)?;
            return Err(error);
        }
    };
    put_in_place(&draft, &books)?;
    Ok(report)
}

async fn checked(file: &Path) -> anyhow::Result<AuditReport> {
    let report = SqliteStore::audit_file(file).await?;
    if !report.is_clean() {
        bail!(BackupError::NotClean {
            path: file.to_owned(),
            findings: report.findings,
        });
    }
    Ok(report)
}

fn refuse_existing(path: &Path) -> Result<(), BackupError> {
    if path.exists() {
        return Err(BackupError::Exists {
            path: path.to_owned(),
        });
    }
    Ok(())
}

fn draft_of(file: &Path) -> PathBuf {
    let mut draft = file.to_owned().into_os_string();
    draft.push(".draft");
    PathBuf::from(draft)
}

fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("could not remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes a draft durable, and gives it its name: the file is there whole or not at all.
fn put_in_place(draft: &Path, file: &Path) -> anyhow::Result<()> {
    let place = || -> io::Result<()> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(draft, fs::Permissions::from_mode(0o600))?;
        }
        File::open(draft)?.sync_all()?;
        fs::rename(draft, file)?;
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            Some(_) | None => Path::new("."),
        };
        File::open(folder)?.sync_all()
    };
    place().with_context(|| format!("could not write {}", file.display()))
}
