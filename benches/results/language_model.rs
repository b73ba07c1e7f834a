//! Training steps of a language model: time and memory.

use crate::{
    in_own_process,
    table::{Table, number},
    variant::{Measured, Model, VARIANTS},
};

pub const ABOUT: &str = "A training step of a BitNet language model against its full-precision twin: \
    6 layers of 384 with 8 x 256 tokens\n(small), and 8 layers of 768 with 64 tokens, whose 57 million \
    parameters take most of the memory (large).\nEach run is a process of its own. \
    Memory is the peak of the process, with what the program and the\nallocator (mimalloc) take, what it had \
    allocated at most, and what `MemoryPlan` says that tensors take.";

/// Times that each variant takes its turn.
const ROUNDS: usize = 5;

pub fn run(quick: bool) -> Table {
    let head = &[
        "model",
        "variant",
        "ms a step",
        "ratio",
        "peak MiB",
        "ratio",
        "allocated",
        "planned",
    ];
    let mut table = Table::new(
        head,
        "ratio to full precision with AdamW, shorter is better",
    );
    for model in Model::ALL {
        let mut runs = vec![Vec::new(); VARIANTS.len()];
        for _ in 0..if quick { 1 } else { ROUNDS } {
            for (variant, runs) in VARIANTS.iter().zip(&mut runs) {
                let line = in_own_process(&["variant", variant.name, model.name()], &[]);
                runs.push(Measured::parse(&line).expect("a process prints what it measured"));
            }
        }
        let medians: Vec<Measured> = runs.into_iter().map(Measured::median).collect();
        let full = medians[0].clone();
        for (variant, median) in VARIANTS.iter().zip(medians) {
            let (time, peak) = (
                median.step_ms / full.step_ms,
                median.peak_mib / full.peak_mib,
            );
            table.row([
                model.name().to_string(),
                variant.title.to_string(),
                number(median.step_ms),
                format!("{time:.2}"),
                number(median.peak_mib),
                format!("{peak:.2}"),
                number(median.allocated_mib),
                number(median.planned_mib),
            ]);
            table.bar(format!("{}, time", model.name()), variant.title, time);
            table.bar(format!("{}, peak", model.name()), variant.title, peak);
        }
    }
    table
}
