//! The file layer under the journal: what it needs of a file system, and no more, so that a test can stand in for a
//! disk that forgets what was not synced.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A file system.
pub trait Storage: Debug + Send + Sync {
    /// Makes a folder and those above it, durably.
    ///
    /// # Errors
    /// Those of the file system.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;

    /// Takes the lock that `path` stands for, until the value is dropped.
    ///
    /// # Errors
    /// `WouldBlock` when somebody else has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn FolderLock>>;

    /// The names in a folder, sorted.
    ///
    /// # Errors
    /// Those of the file system.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// A whole file.
    ///
    /// # Errors
    /// Those of the file system.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The same, in place of what is in `bytes`: whoever reads file after file need not have fresh memory for each.
    ///
    /// # Errors
    /// Those of the file system.
    fn read_into(&self, path: &Path, bytes: &mut Vec<u8>) -> io::Result<()> {
        *bytes = self.read(path)?;
        Ok(())
    }

    /// A new, empty file to write; one that is there is emptied.
    ///
    /// # Errors
    /// Those of the file system.
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;

    /// A file that is there, to write.
    ///
    /// # Errors
    /// Those of the file system.
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;

    /// Gives a file another name, taking it from whatever has it. Durable after [`Storage::sync_folder`].
    ///
    /// # Errors
    /// Those of the file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`Storage::sync_folder`].
    ///
    /// # Errors
    /// Those of the file system.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder's names durable.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// A file to write.
pub trait StorageFile: Debug + Send {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Those of the file system.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns when all that was written is durable.
    ///
    /// # Errors
    /// Those of the file system. What was written may be lost then, even if a later call succeeds.
    fn sync(&self) -> io::Result<()>;
}

/// A lock that is held while this lives.
pub trait FolderLock: Debug + Send {}

/// The machine's own file system.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Storage for Disk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        let parent = folder
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        self.create_folder(parent)?;
        match fs::create_dir(folder) {
            Ok(()) => self.sync_folder(parent),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FolderLock>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(DiskLock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            // A name that is not text is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn read_into(&self, path: &Path, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.clear();
        File::open(path)?.read_to_end(bytes).map(drop)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(DiskFile(File::create(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(DiskFile(OpenOptions::new().write(true).open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

#[derive(Debug)]
struct DiskFile(File);

impl StorageFile for DiskFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[derive(Debug)]
struct DiskLock {
    _file: File,
}

impl FolderLock for DiskLock {}
