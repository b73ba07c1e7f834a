//! Time and memory of training steps of adapters, beside full fine-tuning and PyTorch.

use bitnet_burn::{
    nn::{BitLinear, BitNetLm, Linear4bit, PackedBitLinear},
    peft::{AdaptedLinear, AdapterBase, LoraConfig, TargetModules},
    quant::FourBitConfig,
    train::MemoryPlan,
};
use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, FloatDType},
};

use crate::{
    alternate::median,
    fail,
    peak::Memory,
    peers::{self, Peer},
    stepping::{self, Measured, own},
    table::{Table, number},
    training::{Model, Training},
};

pub const ABOUT: &str = "Training step of LoRA (rank 16 on all projections, AdamW) beside full \
    fine-tuning in full precision (AdamW), for a model\nof the shape of SmolLM2-135M: 30 layers of \
    width 576, a vocabulary of 49152, with 4 x 256 tokens. Bases are in f32,\nbf16, 4 bits (NF4 with \
    double quantization), and ternary, packed to 2 bits. With `BITNET_BURN_PYTHON`, the path of a \
    Python with\ntorch, transformers and peft, PyTorch takes the same steps in turn. Each variant \
    runs in its own process; times are\nmedians, and the ratio of times is the median over the \
    rounds of the ratio to the first. Memory is the peak of the\nprocess, including program, \
    libraries and allocator.";

const MODEL: Model = Model::SmolLm2;
/// Number of timed steps per variant.
const STEPS: usize = 5;

type Variant = (&'static str, &'static str, fn() -> MemoryPlan);

const VARIANTS: [Variant; 6] = [
    ("full", "full fine-tuning", || {
        Training::adamw().steps(MODEL, full())
    }),
    ("lora", "LoRA, f32 base", || train(full())),
    (
        "checkpointing",
        "LoRA, f32 base, gradient checkpointing",
        || {
            let training = Training::adamw().with_gradient_checkpointing();
            training.steps(MODEL, adapted(full()))
        },
    ),
    ("bf16", "LoRA, bf16 base", || {
        train(full().with_projection_dtype(FloatDType::BF16))
    }),
    ("qlora", "LoRA, NF4 base", || train(four_bit())),
    ("packed", "LoRA, packed ternary base", || train(packed())),
];

const PEERS: [Peer; 2] = [
    ("full", "PyTorch, full fine-tuning"),
    ("lora", "PyTorch, peft LoRA, f32 base"),
];

fn full() -> BitNetLm<Linear> {
    MODEL.config().init(&Device::default().autodiff())
}

fn four_bit() -> BitNetLm<Linear4bit> {
    let config = FourBitConfig::default();
    full().map_projections(|_, linear| Linear4bit::from_linear(&linear, &config))
}

fn packed() -> BitNetLm<PackedBitLinear> {
    let lm: BitNetLm<BitLinear> = MODEL.config().init(&Device::default());
    lm.map_projections(|_, linear| linear.pack()).train()
}

/// Trains an adapter in turns, and returns the planned memory.
fn train<P: AdapterBase>(lm: BitNetLm<P>) -> MemoryPlan {
    Training::adamw().steps(MODEL, adapted(lm))
}

fn adapted<P: AdapterBase>(lm: BitNetLm<P>) -> BitNetLm<AdaptedLinear<P>> {
    let lora = LoraConfig::new(16).with_targets(TargetModules::AllLinear);
    let adapted = lm.with_adapter("default", lora);
    adapted.unwrap_or_else(|error| fail(&error.to_string())).0
}

/// Trains a variant in this process, in turns.
pub fn take_turns(name: &str) {
    let Some((.., train)) = VARIANTS.iter().find(|(n, ..)| *n == name) else {
        fail("no such variant");
    };
    let plan = rayon::scope(|_| train());
    stepping::answer(Memory::of_this_process(&plan));
}

pub fn run(quick: bool) -> Table {
    let head = &[
        "variant",
        "ms per step",
        "ratio",
        "peak MiB",
        "ratio",
        "planned",
    ];
    let mut table = Table::new(head, "ratio to full fine-tuning, shorter is better");
    let own = VARIANTS.map(|(name, title, _)| (title, own(&["adapter", name])));
    let variants = own.into_iter().chain(peers::commands(MODEL, &PEERS));
    let (titles, commands): (Vec<_>, Vec<_>) = variants.unzip();
    let measured = stepping::measure(commands, if quick { 1 } else { STEPS });
    let first = &measured[0];
    for (title, Measured { step_ms, memory }) in titles.iter().zip(&measured) {
        let rounds = step_ms.iter().zip(&first.step_ms);
        let time = median(rounds.map(|(step, full)| step / full).collect());
        let peak = memory.peak / first.memory.peak;
        table.row([
            title.to_string(),
            number(median(step_ms.clone())),
            format!("{time:.2}"),
            number(memory.peak),
            format!("{peak:.2}"),
            number(memory.planned),
        ]);
        table.bar("time", *title, time);
        table.bar("peak", *title, peak);
    }
    table
}
