//! A training step of a BitNet language model against its full-precision twin, time and memory:
//! `cargo bench --bench language_model`.
//!
//! Each variant runs in processes of its own, so that the peak of its memory is its own, and the
//! variants take turns, so that the drift of the machine is nobody's advantage.

mod memory;
mod variant;

use std::process::{Command, exit};

use variant::{Measured, Model, VARIANTS};

/// As in `ops.rs`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Times that each variant takes its turn.
const ROUNDS: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["run", variant, model] => match (variant::find(variant), Model::find(model)) {
            (Some(variant), Some(model)) => println!("{}", variant.measure(model)),
            _ => fail(&format!("no variant {variant} of a model {model}")),
        },
        _ => Model::ALL.into_iter().for_each(compare),
    }
}

fn fail(message: &str) -> ! {
    eprintln!("language_model: {message}");
    exit(1)
}

/// Runs all variants on a model and prints their medians.
fn compare(model: Model) {
    println!("\n{model}\n");
    println!("| variant | ms/step | ratio | peak MiB | ratio |");
    println!("|---|---|---|---|---|");
    let mut runs = vec![Vec::new(); VARIANTS.len()];
    for _ in 0..ROUNDS {
        for (variant, runs) in VARIANTS.iter().zip(&mut runs) {
            runs.push(in_own_process(variant.name, model.name()));
        }
    }
    let medians: Vec<Measured> = runs.into_iter().map(Measured::median).collect();
    let full_precision = &medians[0];
    for (variant, median) in VARIANTS.iter().zip(&medians) {
        println!(
            "| {} | {:.1} | {:.3} | {:.0} | {:.2} |",
            variant.title,
            median.step_ms,
            median.step_ms / full_precision.step_ms,
            median.peak_mib,
            median.peak_mib / full_precision.peak_mib,
        );
    }
}

fn in_own_process(variant: &str, model: &str) -> Measured {
    let program = std::env::current_exe().unwrap_or_else(|e| fail(&e.to_string()));
    let output = Command::new(program)
        .args(["run", variant, model])
        .output()
        .unwrap_or_else(|e| fail(&e.to_string()));
    let text = String::from_utf8_lossy(&output.stdout);
    Measured::parse(&text).unwrap_or_else(|| {
        fail(&format!(
            "{variant} on {model}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        ))
    })
}
