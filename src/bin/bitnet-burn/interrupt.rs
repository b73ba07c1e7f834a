//! Ctrl-C.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::error::Failure;

/// The exit code of a program that SIGINT ended, as shells have it.
const KILLED: i32 = 130;

/// A flag that the first Ctrl-C sets; the second one ends the program at once.
pub fn flag() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    let handled = flag.clone();
    let set = ctrlc::set_handler(move || {
        if handled.swap(true, Ordering::SeqCst) {
            std::process::exit(KILLED);
        }
        eprintln!("\nfinishing the step and saving it; Ctrl-C once more ends the program at once");
    });
    set.map_err(|error| Failure::failed(format!("Ctrl-C cannot be handled: {error}")))?;
    Ok(flag)
}
