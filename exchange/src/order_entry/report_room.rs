//! The room for the reports of all sessions together.
//!
//! Every log counts here what it keeps. When that is more than there is room for, the follower of the engine's events
//! has sessions give way: first those without a connection, the one that was left longest ago before the others; then
//! whoever keeps most. Counting never waits, so for a moment more may be kept than there is room for.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// See the module.
#[derive(Debug)]
pub(super) struct ReportRoom {
    bytes: AtomicUsize,
    bytes_max: usize,
    exceeded: Notify,
    desertions: AtomicU64,
}

/// When a session was left, counted over all sessions: the lower, the longer ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Desertion(u64);

/// How a session stands when room is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// When it was left, if nobody is connected.
    pub(super) deserted: Option<Desertion>,
    /// What it keeps.
    pub(super) bytes: usize,
}

impl ReportRoom {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            bytes_max,
            exceeded: Notify::new(),
            desertions: AtomicU64::new(0),
        }
    }

    pub(super) fn add(&self, bytes: usize) {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.bytes_max {
            self.exceeded.notify_one();
        }
    }

    pub(super) fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.bytes_max
    }

    /// Waits until more is kept than there is room for.
    pub(super) async fn exceeded(&self) {
        self.exceeded.notified().await;
    }

    /// Now, among all times at which a session was left.
    pub(super) fn desertion(&self) -> Desertion {
        Desertion(self.desertions.fetch_add(1, Ordering::Relaxed))
    }
}

impl Standing {
    /// In which order sessions give way: the least first.
    pub(super) fn turn(self) -> impl Ord {
        match self.deserted {
            Some(desertion) => (0, Some(desertion), 0),
            None => (1, None, usize::MAX - self.bytes),
        }
    }
}
