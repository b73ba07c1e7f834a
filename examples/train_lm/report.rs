//! Results of a run.

use bitnet_burn_examples::{BATCH, CONTEXT, name};
use serde_json::json;

use crate::{options::Options, training::Run};

/// Prints one line of JSON.
pub fn print(options: &Options, valid_loss: f64, run: &Run) {
    let line = json!({
        "precision": name(options.precision),
        "memory": name(options.memory),
        "steps": options.steps,
        "valid_loss": valid_loss,
        "train_seconds": run.seconds,
        "tokens_per_second": (run.steps * BATCH * CONTEXT) as f64 / run.seconds,
        "peak_rss_mib": peak_rss_mib(),
    });
    println!("{line}");
}

/// Returns the peak resident memory of the process, where the system provides it (Linux).
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
