//! How often the disk is asked to keep something: the test binary stands between SQLite and the system, and counts.
//!
//! These two functions take the place of libc's in this binary; they do the same by a system call of their own.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

static SYNCS: Mutex<BTreeMap<PathBuf, u64>> = Mutex::new(BTreeMap::new());

/// How many syncs the files of a folder have had so far.
pub(crate) fn of(folder: &Path) -> u64 {
    let syncs = SYNCS.lock().unwrap_or_else(PoisonError::into_inner);
    let of_folder = syncs.iter().filter(|(path, _)| path.starts_with(folder));
    of_folder.map(|(_, count)| count).sum()
}

fn note(fd: RawFd) {
    let Ok(path) = std::fs::read_link(format!("/proc/self/fd/{fd}")) else {
        return;
    };
    let mut syncs = SYNCS.lock().unwrap_or_else(PoisonError::into_inner);
    *syncs.entry(path).or_default() += 1;
}

fn sync(fd: RawFd, how: fn(BorrowedFd<'_>) -> rustix::io::Result<()>) -> i32 {
    note(fd);
    #[expect(
        unsafe_code,
        reason = "the caller's descriptor is open for as long as the call, as for libc's own"
    )]
    // SAFETY: whoever calls `fsync` has the descriptor open until it returns.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    match how(fd) {
        Ok(()) => 0,
        Err(_) => -1,
    }
}

#[expect(
    unsafe_code,
    reason = "it takes the place of libc's, with the same arguments and the same effect"
)]
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: RawFd) -> i32 {
    sync(fd, |fd| rustix::fs::fdatasync(fd))
}

#[expect(
    unsafe_code,
    reason = "it takes the place of libc's, with the same arguments and the same effect"
)]
#[unsafe(no_mangle)]
extern "C" fn fsync(fd: RawFd) -> i32 {
    sync(fd, |fd| rustix::fs::fsync(fd))
}
