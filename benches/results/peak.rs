//! Memory of this process.

use std::{
    alloc::{GlobalAlloc, Layout},
    fmt,
    num::ParseFloatError,
    str::FromStr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use bitnet_burn::train::MemoryPlan;
use mimalloc::MiMalloc;

/// Bytes in use, and their peak.
static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Counting mimalloc allocator; training on a CPU allocates and frees megabytes per operation, as
/// in the examples.
pub struct Counting;

// SAFETY: delegates to mimalloc.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(in_use, Relaxed);
        // SAFETY: guaranteed by the caller.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: guaranteed by the caller.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(in_use, Relaxed);
        // SAFETY: guaranteed by the caller.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }
}

/// Keeps freed memory for the next step, as the program and the examples do (`mi_option_purge_delay`).
pub fn keep_freed_memory() {
    if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        // SAFETY: sets a number that the allocator reads.
        unsafe { libmimalloc_sys::mi_option_set(15, -1) };
    }
}

/// Peak memory of a process, and its planned memory, in MiB.
pub struct Memory {
    pub peak: f64,
    pub allocated: f64,
    pub planned: f64,
}

impl Memory {
    pub fn of_this_process(plan: &MemoryPlan) -> Self {
        Self {
            peak: peak_mib(),
            allocated: PEAK.load(Relaxed) as f64 / (1 << 20) as f64,
            planned: plan.peak as f64 / (1 << 20) as f64,
        }
    }
}

/// Returns `VmHWM` on Linux, NaN elsewhere.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.peak, self.allocated, self.planned)
    }
}

impl FromStr for Memory {
    type Err = ParseFloatError;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let mut numbers = line.split(' ').map(str::parse);
        // Parsing an empty string is an error.
        let mut next = || numbers.next().unwrap_or_else(|| "".parse());
        Ok(Self {
            peak: next()?,
            allocated: next()?,
            planned: next()?,
        })
    }
}
