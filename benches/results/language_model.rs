//! Training steps of a language model: time and memory.

use crate::{
    alternate::median,
    stepping::{self, Measured},
    table::{Table, number},
    training::Model,
    variant::VARIANTS,
};

pub const ABOUT: &str = "A training step of a BitNet language model against its full-precision twin: \
    6 layers of 384 with 8 x 256 tokens\n(small), and 8 layers of 768 with 64 tokens, whose 57 million \
    parameters take most of the memory (large).\nEach variant is a process of its own; those of a model \
    are alive together and take turns: a step that wakes it up, and\none that is timed. The ratio of times \
    is the median of the ratios of its step to that of full precision in each\nround. Memory is the peak of \
    the process, with what the program and the allocator (mimalloc) take, what it had\nallocated at most, and \
    what `MemoryPlan` says that tensors take.";

/// Steps of each variant that are timed.
const STEPS: usize = 15;

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
        let arguments = VARIANTS.map(|variant| ["variant", variant.name, model.name()]);
        let measured = stepping::measure(&arguments, if quick { 2 } else { STEPS });
        rows(&mut table, model, &measured);
    }
    table
}

/// A row of each variant; the first is full precision.
fn rows(table: &mut Table, model: Model, measured: &[Measured]) {
    let full = &measured[0];
    for (variant, Measured { step_ms, memory }) in VARIANTS.iter().zip(measured) {
        let rounds = step_ms.iter().zip(&full.step_ms);
        let time = median(rounds.map(|(step, full)| step / full).collect());
        let peak = memory.peak / full.memory.peak;
        table.row([
            model.name().to_string(),
            variant.title.to_string(),
            number(median(step_ms.clone())),
            format!("{time:.2}"),
            number(memory.peak),
            format!("{peak:.2}"),
            number(memory.allocated),
            number(memory.planned),
        ]);
        table.bar(format!("{}, time", model.name()), variant.title, time);
        table.bar(format!("{}, peak", model.name()), variant.title, peak);
    }
}
