//! A child that must not outlive its parent.

use std::io;

use rustix::process::Signal;

/// Asks the kernel to kill this process when its parent dies. Does nothing where the kernel cannot.
///
/// A parent that died before the call leaves an orphan, so the caller passes the parent it expects.
///
/// # Errors
/// When the kernel refuses, or `expected_parent` is gone already.
#[cfg(target_os = "linux")]
pub fn die_with_parent(expected_parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if parent != i32::try_from(expected_parent).ok() {
        return Err(io::Error::other(
            "the parent process ended before this one was ready",
        ));
    }
    Ok(())
}

/// Asks the kernel to kill this process when its parent dies. Does nothing where the kernel cannot.
///
/// # Errors
/// Never, here.
#[cfg(not(target_os = "linux"))]
pub fn die_with_parent(_expected_parent: u32) -> io::Result<()> {
    Ok(())
}
