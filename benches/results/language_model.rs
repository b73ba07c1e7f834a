//! Time and memory of training steps of a language model.

use crate::{
    alternate::median,
    stepping::{self, Measured, own},
    table::{Table, number},
    training::Model,
    variant::VARIANTS,
};

pub const ABOUT: &str = "Training step of a BitNet language model compared with its \
    full-precision twin: 6 layers of width 384 with 8 x 256\ntokens (small), and 8 layers of \
    width 768 with 64 tokens, whose 57 million parameters take most of the memory (large).\nEach \
    variant runs in its own process. Those of a model run concurrently and take turns of two \
    steps: a warm-up step\nand a timed step. The ratio of times is the median over the rounds of \
    the ratio to the step of full precision. Memory\nis the peak of the process, including \
    program and allocator (mimalloc), the peak of its allocations, and the size of\nthe tensors \
    by `MemoryPlan`.";

/// Number of timed steps per variant.
const STEPS: usize = 15;

pub fn run(quick: bool) -> Table {
    let head = &[
        "model",
        "variant",
        "ms per step",
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
        let commands = VARIANTS
            .map(|v| own(&["variant", v.name, model.name()]))
            .into();
        let measured = stepping::measure(commands, if quick { 2 } else { STEPS });
        rows(&mut table, model, &measured);
    }
    table
}

/// Adds a row for each variant; the first is full precision.
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
