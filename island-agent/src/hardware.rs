//! What this machine is: for the log at start, never for the market, which measures instead of believing.

use std::fmt;
use std::thread::available_parallelism;

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

/// The machine, as its system describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// The processor's name.
    pub processor: String,
    /// Threads that this process may use at once.
    pub thread_count: usize,
    /// Memory in all.
    pub memory_size: u64,
}

impl Hardware {
    /// Looks at this machine.
    #[must_use]
    pub fn detect() -> Self {
        let kind = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(kind);
        let processor = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned());
        Self {
            processor: processor
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "unknown".to_owned()),
            thread_count: available_parallelism().map_or(1, std::num::NonZero::get),
            memory_size: system.total_memory(),
        }
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = self.memory_size.div_euclid(1 << 20);
        write!(
            f,
            "{}, {} threads, {mebibytes} MiB",
            self.processor, self.thread_count
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_a_thread_and_memory() {
        let hardware = Hardware::detect();
        assert!(
            hardware.thread_count > 0 && hardware.memory_size > 0,
            "{hardware}"
        );
    }
}
