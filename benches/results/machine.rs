//! Description of the machine.

use std::{fs, thread};

use burn::tensor::Device;

/// Returns a description in one line.
pub fn describe() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let model =
        field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.into());
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|kib| kib.split(' ').next()?.parse::<f64>().ok())
        .map_or(String::new(), |kib| {
            format!(", {:.0} GiB", kib / 1024.0 / 1024.0)
        });
    let instructions = instructions().join(", ");
    let device = format!("{:?}", Device::default());
    format!("{model}, {cores} threads{memory}; {instructions}; device {device}")
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

/// Returns the instruction sets by which the kernels are selected.
#[cfg(target_arch = "x86_64")]
fn instructions() -> Vec<&'static str> {
    [
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("AVX-512", is_x86_feature_detected!("avx512f")),
        ("VNNI", is_x86_feature_detected!("avx512vnni")),
    ]
    .into_iter()
    .filter_map(|(name, there)| there.then_some(name))
    .collect()
}

#[cfg(target_arch = "aarch64")]
fn instructions() -> Vec<&'static str> {
    let there = std::arch::is_aarch64_feature_detected!("dotprod");
    ["NEON"]
        .into_iter()
        .chain(there.then_some("dotprod"))
        .collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn instructions() -> Vec<&'static str> {
    vec!["portable"]
}
