//! Time and memory of training steps of a language model, beside PyTorch.

use crate::{
    alternate::median,
    peers::{self, Peer},
    stepping::{self, Measured, own},
    table::{Table, number},
    training::Model,
    variant::Variant,
};

pub const ABOUT: &str = "Training step of a BitNet language model compared with its \
    full-precision twin: 6 layers of width 384 with 8 x 256\ntokens (small), 8 layers of \
    width 768 with 64 tokens, whose 57 million parameters take most of the memory (large), and \
    the\nshape of SmolLM2-135M, with a vocabulary of 49152 and 4 x 256 tokens (smollm2). With \
    `BITNET_BURN_PYTHON`, the path of a\nPython with torch and transformers, PyTorch takes the \
    same steps in turn, eager; its QAT has transformers'\n`AutoBitLinear` with online \
    quantization.\nEach variant runs in its own process. Those of a model run concurrently and \
    take turns of two steps: a warm-up step\nand a timed step. The ratio of times is the median \
    over the rounds of the ratio to the step of full precision. Memory\nis the peak of the \
    process, including program, libraries and allocator, the peak of its allocations, and the size \
    of\nthe tensors by `MemoryPlan`.";

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
        let own = Variant::of(model).map(|v| (v.title, own(&["variant", v.name, model.name()])));
        let variants = own.chain(peers::commands(model, peers_of(model)));
        let (titles, commands): (Vec<_>, Vec<_>) = variants.unzip();
        let measured = stepping::measure(commands, if quick { 1 } else { model.rounds() });
        rows(&mut table, model, &titles, &measured);
    }
    table
}

/// Returns what PyTorch trains; two of the largest model would not fit 24 GiB beside the others.
fn peers_of(model: Model) -> &'static [Peer] {
    const FULL: Peer = ("full", "PyTorch, full precision, AdamW");
    const QAT: Peer = ("qat", "PyTorch, QAT, AdamW");
    match model {
        Model::Small => &[FULL, QAT],
        Model::Large => &[],
        Model::SmolLm2 => &[QAT],
    }
}

/// Adds a row for each variant; the first is full precision.
fn rows(table: &mut Table, model: Model, titles: &[&str], measured: &[Measured]) {
    let full = &measured[0];
    for (title, Measured { step_ms, memory }) in titles.iter().zip(measured) {
        let rounds = step_ms.iter().zip(&full.step_ms);
        let time = median(rounds.map(|(step, full)| step / full).collect());
        let peak = memory.peak / full.memory.peak;
        table.row([
            model.name().to_string(),
            title.to_string(),
            number(median(step_ms.clone())),
            format!("{time:.2}"),
            number(memory.peak),
            format!("{peak:.2}"),
            number(memory.allocated),
            number(memory.planned),
        ]);
        table.bar(format!("{}, time", model.name()), *title, time);
        table.bar(format!("{}, peak", model.name()), *title, peak);
    }
}
