//! Handling of Ctrl-C.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::error::Failure;

/// Exit code of a program terminated by SIGINT, as in shells.
const KILLED: i32 = 130;

/// Returns a flag that the first Ctrl-C sets; the second one ends the program immediately.
pub fn flag() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    let handled = flag.clone();
    let set = ctrlc::set_handler(move || {
        if handled.swap(true, Ordering::SeqCst) {
            std::process::exit(KILLED);
        }
        eprintln!("\nfinishing and saving the step; Ctrl-C again ends the program immediately");
    });
    set.map_err(|error| Failure::failed(format!("Ctrl-C cannot be handled: {error}")))?;
    Ok(flag)
}
