//! Atomic file writes.

mod atomic_file;
