//! Time and memory of training steps of adapters, beside full fine-tuning and PyTorch.

use std::{env, hint::black_box, process::Command, time::Instant};

use bitnet_burn::{
    nn::{BitLinear, BitNetLm, BitNetLmConfig, Linear4bit, Projection},
    peft::{AdaptedLinear, AdapterBase, LoraConfig, TargetModules},
    quant::FourBitConfig,
    text::dataset::{Sequence, TokenBatch},
    train::{LanguageModel, MemoryPlan, MemoryPlanConfig, OptimizerStates},
};
use burn::{
    module::Module,
    nn::Linear,
    optim::{AdamWConfig, ModuleOptimizer},
    tensor::{Device, FloatDType},
    train::{TrainOutput, TrainStep},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    alternate::median,
    fail,
    peak::Memory,
    stepping::{self, Measured, own},
    table::{Table, number},
};

pub const ABOUT: &str = "Training step of LoRA (rank 16 on all projections, AdamW) beside full \
    fine-tuning in full precision (AdamW), for a model\nof the shape of SmolLM2-135M: 30 layers of \
    width 576, a vocabulary of 49152, with 4 x 256 tokens. Bases are in f32,\nbf16, 4 bits (NF4 with \
    double quantization), and ternary, packed to 2 bits. With `BITNET_BURN_PYTHON`, the path of a \
    Python with\ntorch, transformers and peft, PyTorch takes the same steps in turn. Each variant \
    runs in its own process; times are\nmedians, and the ratio of times is the median over the \
    rounds of the ratio to the first. Memory is the peak of the\nprocess, including program, \
    libraries and allocator.";

/// Tokens of a batch.
const BATCH: [usize; 2] = [4, 256];
/// Number of timed steps per variant.
const STEPS: usize = 7;

type Variant = (&'static str, &'static str, fn() -> MemoryPlan);

const VARIANTS: [Variant; 5] = [
    ("full", "full fine-tuning", || train(full(), PLAN)),
    ("lora", "LoRA, f32 base", || train(adapted(full()), PLAN)),
    ("bf16", "LoRA, bf16 base", || {
        let base = full().with_projection_dtype(FloatDType::BF16);
        train(adapted(base), PLAN)
    }),
    ("qlora", "LoRA, NF4 base", || {
        train(adapted(four_bit()), PLAN)
    }),
    ("packed", "LoRA, packed ternary base", || {
        train(adapted(packed()), PLAN)
    }),
];

/// Variants of the script, with their names.
const PEERS: [(&str, &str); 2] = [
    ("full", "PyTorch, full fine-tuning"),
    ("lora", "PyTorch, peft LoRA, f32 base"),
];

const PLAN: OptimizerStates = OptimizerStates::AdamW;

fn config() -> BitNetLmConfig {
    BitNetLmConfig::new(49152, 576, 30, 9, 1536)
        .with_n_kv_heads(Some(3))
        .with_max_positions(BATCH[1])
        .with_sub_norm(false)
}

fn full() -> BitNetLm<Linear> {
    config().init(&Device::default().autodiff())
}

fn four_bit() -> BitNetLm<Linear4bit> {
    let config = FourBitConfig::default();
    full().map_projections(|_, linear| Linear4bit::from_linear(&linear, &config))
}

fn packed() -> BitNetLm<bitnet_burn::nn::PackedBitLinear> {
    let lm: BitNetLm<BitLinear> = config().init(&Device::default());
    lm.map_projections(|_, linear| linear.pack()).train()
}

fn adapted<P: AdapterBase>(lm: BitNetLm<P>) -> BitNetLm<AdaptedLinear<P>> {
    let lora = LoraConfig::new(16).with_targets(TargetModules::AllLinear);
    let adapted = lm.with_adapter("default", lora);
    adapted.unwrap_or_else(|error| fail(&error.to_string())).0
}

/// Trains in turns, and returns the planned memory.
fn train<P: Projection>(lm: BitNetLm<P>, states: OptimizerStates) -> MemoryPlan {
    let device = Device::default().autodiff();
    let plan = MemoryPlanConfig::new(BATCH[0], BATCH[1]).with_optimizer(states);
    let plan = plan.plan(&lm);
    let mut model = LanguageModel::new(lm);
    let mut optimizer: ModuleOptimizer = AdamWConfig::new().init();
    let mut rng = StdRng::seed_from_u64(0);
    for () in stepping::turns() {
        let sequences: Vec<Sequence> = (0..BATCH[0])
            .map(|_| (0..=BATCH[1]).map(|_| rng.random_range(0..49152)).collect())
            .map(Sequence::unmasked)
            .collect();
        let batch = TokenBatch::new(&sequences, &device);
        let start = Instant::now();
        let TrainOutput { grads, item } = TrainStep::step(&model, batch);
        model = optimizer.step(1e-4, model, grads);
        black_box(item.mean.into_scalar::<f32>());
        stepping::answer(start.elapsed().as_secs_f64() * 1e3);
    }
    plan
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
    let python = env::var("BITNET_BURN_PYTHON").ok();
    let mut commands: Vec<Command> = VARIANTS.map(|(name, ..)| own(&["adapter", name])).into();
    let mut titles: Vec<&str> = VARIANTS.map(|(_, title, _)| title).into();
    for (name, title) in PEERS.iter().filter(|_| python.is_some()) {
        let mut command = Command::new(python.as_deref().unwrap_or_default());
        command.args([
            concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/lora.py"),
            name,
        ]);
        commands.push(command);
        titles.push(title);
    }
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
