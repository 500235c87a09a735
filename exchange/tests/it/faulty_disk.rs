//! A disk in memory that forgets what was not synced, as real ones may, and fails when it is told to.
//!
//! A crash keeps of each file what was synced, and of every sector written since either the old bytes or the new,
//! as the seed decides. Names that were not synced are kept or lost the same way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::ThreadId;

use exchange::journal::{FolderLock, Storage, StorageFile};

const SECTOR: usize = 512;

/// What a crash does to what was not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// All of it is lost.
    Everything,
    /// Any sector may be lost, any kept.
    Sectors(u64),
    /// It is written up to some byte of some write.
    Prefix(u64),
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync, in order.
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u64, Content>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    locks: BTreeSet<PathBuf>,
    next_file: u64,
    syncs: u64,
    writes_left: Option<u64>,
    syncs_left: Option<u64>,
    /// Changes with every crash: files of the machine before can no longer be written.
    boot: u64,
    ignores_syncs: bool,
    /// Whether no file can grow.
    is_full: bool,
    written_by: HashMap<ThreadId, usize>,
}

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

impl FaultyDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Pretends to sync from now on: what a program without the sync would be like.
    pub(crate) fn ignore_syncs(&self) {
        self.state().ignores_syncs = true;
    }

    /// Fails every write after so many more.
    pub(crate) fn fail_after_writes(&self, count: u64) {
        self.state().writes_left = Some(count);
    }

    /// Fails every sync after so many more.
    pub(crate) fn fail_after_syncs(&self, count: u64) {
        self.state().syncs_left = Some(count);
    }

    /// Lets no file grow from now on.
    pub(crate) fn fill(&self) {
        self.state().is_full = true;
    }

    /// Somebody has made room.
    pub(crate) fn free(&self) {
        self.state().is_full = false;
    }

    /// How many bytes the calling thread has written.
    pub(crate) fn written_by_me(&self) -> usize {
        let me = std::thread::current().id();
        self.state().written_by.get(&me).copied().unwrap_or(0)
    }

    /// How often a file was synced.
    pub(crate) fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// The machine stops and starts again.
    pub(crate) fn crash(&self, loss: Loss) {
        let mut state = self.state();
        state.boot += 1;
        state.locks.clear();
        state.writes_left = None;
        state.syncs_left = None;
        let mut random = Random(match loss {
            Loss::Everything => 1,
            Loss::Sectors(seed) | Loss::Prefix(seed) => seed,
        });
        for content in state.files.values_mut() {
            content.crash(loss, &mut random);
        }
        state.names = state.durable_names.clone();
    }

    /// The file system as a program sees it until the next crash.
    pub(crate) fn boot(&self) -> Arc<dyn Storage> {
        let boot = self.state().boot;
        Arc::new(Booted {
            disk: self.clone(),
            boot,
        })
    }

    /// The bytes of a file.
    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        self.boot().read(path).unwrap()
    }

    /// Changes a file behind everybody's back.
    pub(crate) fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.names[path];
        let content = state.files.get_mut(&file).unwrap();
        change(&mut content.now);
        content.durable = content.now.clone();
        content.unsynced.clear();
    }

    /// Removes a file behind everybody's back.
    pub(crate) fn lose(&self, path: &Path) {
        let mut state = self.state();
        state.names.remove(path).unwrap();
        state.durable_names.remove(path);
    }
}

impl Content {
    fn crash(&mut self, loss: Loss, random: &mut Random) {
        let mut kept = self.durable.clone();
        match loss {
            Loss::Everything => {}
            Loss::Sectors(_) => {
                kept.resize(self.now.len().max(kept.len()), 0);
                for (offset, bytes) in &self.unsynced {
                    for sector in offset.div_euclid(SECTOR)..(offset + bytes.len()).div_ceil(SECTOR) {
                        let range = sector * SECTOR..((sector + 1) * SECTOR).min(kept.len());
                        if random.next().is_multiple_of(2) {
                            kept[range.clone()].copy_from_slice(&self.now[range]);
                        }
                    }
                }
            }
            Loss::Prefix(_) => {
                let count = self.unsynced.len();
                let whole = if count == 0 { 0 } else { random.below(count + 1) };
                for (index, (offset, bytes)) in self.unsynced.iter().enumerate().take(whole + 1) {
                    let size = if index < whole {
                        bytes.len()
                    } else {
                        random.below(bytes.len() + 1)
                    };
                    kept.resize(kept.len().max(offset + size), 0);
                    kept[*offset..offset + size].copy_from_slice(&bytes[..size]);
                }
            }
        }
        self.now.clone_from(&kept);
        self.durable = kept;
        self.unsynced.clear();
    }
}

/// A file system that is gone after the next crash.
#[derive(Debug)]
struct Booted {
    disk: FaultyDisk,
    boot: u64,
}

impl Booted {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.boot != self.boot {
            return Err(io::Error::other("the machine has stopped"));
        }
        Ok(state)
    }

    fn file(&self, file: u64) -> Box<dyn StorageFile> {
        Box::new(FaultyFile {
            disk: self.disk.clone(),
            file,
            boot: self.boot,
        })
    }
}

impl Storage for Booted {
    fn create_folder(&self, _folder: &Path) -> io::Result<()> {
        self.state().map(drop)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn FolderLock>> {
        if !self.state()?.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(FaultyLock {
            disk: self.disk.clone(),
            path: path.to_owned(),
            boot: self.boot,
        }))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state()?;
        let names = state
            .names
            .keys()
            .filter(|path| path.parent() == Some(folder))
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        Ok(names.collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state()?;
        let file = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(state.files[file].now.clone())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let mut state = self.state()?;
        let file = state.next_file;
        state.next_file += 1;
        state.files.insert(file, Content::default());
        state.names.insert(path.to_owned(), file);
        drop(state);
        Ok(self.file(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = *self.state()?.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state()?;
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state()?.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        let mut state = self.state()?;
        if !state.ignores_syncs {
            state.durable_names = state.names.clone();
        }
        Ok(())
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    file: u64,
    boot: u64,
}

impl FaultyFile {
    fn check(&self, state: &State) -> io::Result<()> {
        if state.boot == self.boot {
            return Ok(());
        }
        Err(io::Error::other("the machine has stopped"))
    }
}

impl StorageFile for FaultyFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        self.check(&state)?;
        if let Some(left) = &mut state.writes_left {
            *left = left.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        }
        let offset = usize::try_from(offset).unwrap();
        let end = offset + bytes.len();
        if state.is_full && end > state.files[&self.file].now.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        *state.written_by.entry(std::thread::current().id()).or_default() += bytes.len();
        let content = state.files.get_mut(&self.file).unwrap();
        content.now.resize(content.now.len().max(end), 0);
        content.now[offset..end].copy_from_slice(bytes);
        content.unsynced.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        self.check(&state)?;
        if let Some(left) = &mut state.syncs_left {
            *left = left
                .checked_sub(1)
                .ok_or_else(|| io::Error::other("the disk is gone"))?;
        }
        state.syncs += 1;
        if !state.ignores_syncs {
            let content = state.files.get_mut(&self.file).unwrap();
            for (offset, bytes) in std::mem::take(&mut content.unsynced) {
                let end = offset + bytes.len();
                content.durable.resize(content.durable.len().max(end), 0);
                content.durable[offset..end].copy_from_slice(&bytes);
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct FaultyLock {
    disk: FaultyDisk,
    path: PathBuf,
    boot: u64,
}

impl FolderLock for FaultyLock {}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.boot == self.boot {
            state.locks.remove(&self.path);
        }
    }
}

/// Splitmix: enough chance for a test, and the same on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 1).unwrap() % bound
    }
}
