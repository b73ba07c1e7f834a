//! Memory of the program.

use std::env;

/// Training on a CPU allocates and frees activations of a megabyte in every operation. The system
/// allocator maps them anew each time, which costs a fifth of the CPU time in page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// mimalloc's number of `mi_option_purge_delay`, which its bindings leave out.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Keeps freed memory for the next step of a training. mimalloc returns it to the system after some milliseconds, so
/// that each step would get it cleared, page by page: up to a third of the time. `MIMALLOC_PURGE_DELAY` overrides it.
pub fn keep_freed_memory() {
    if env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
        // SAFETY: sets a number that the allocator reads.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
    }
}
