//! Variants of training a language model.

use bitnet_burn::{
    nn::BitLinear,
    optim::{AdamW8bitConfig, PagedOptimizerConfig, QatOptimizer, QatOptimizerConfig},
    quant::{InputGradient, QatScheme},
    train::{MemoryPlan, OptimizerStates},
};
use burn::{
    nn::Linear,
    optim::{AdamWConfig, Optimizer},
    tensor::FloatDType,
};

use crate::{
    fail,
    peak::Memory,
    stepping,
    training::{Model, States, train, train_with},
};

/// Variant of a training.
pub struct Variant {
    pub name: &'static str,
    pub title: &'static str,
    /// Trains in turns, and returns the planned memory.
    train: fn(Model) -> MemoryPlan,
}

pub const VARIANTS: [Variant; 6] = [
    Variant {
        name: "fp",
        title: "full precision, AdamW",
        train: |model| train::<Linear>(model, adamw().init(), FloatDType::F32, PLAN),
    },
    Variant {
        name: "qat",
        title: "QAT, AdamW",
        train: |model| train::<BitLinear>(model, adamw().init(), FloatDType::F32, PLAN),
    },
    Variant {
        name: "qat-int8-gradients",
        title: "QAT with int8 gradients of inputs, AdamW",
        train: |model| {
            let scheme = QatScheme::b1_58().with_input_gradient(InputGradient::Int8);
            train_with::<BitLinear>(model, scheme, adamw().init(), FloatDType::F32, PLAN)
        },
    },
    Variant {
        name: "qat-8bit",
        title: "QAT, AdamW8bit",
        train: |model| {
            let optimizer = AdamW8bitConfig::new().init();
            train::<BitLinear>(model, optimizer, FloatDType::F32, PLAN_8BIT)
        },
    },
    Variant {
        name: "qat-8bit-bf16",
        title: "QAT, AdamW8bit, bf16 latent weights",
        train: |model| {
            let optimizer = rounding(AdamW8bitConfig::new().build());
            train::<BitLinear>(model, optimizer.into(), FloatDType::BF16, PLAN_8BIT)
        },
    },
    Variant {
        name: "qat-paged-bf16",
        title: "QAT, paged AdamW8bit, bf16 latent weights",
        train: |model| {
            let optimizer = rounding(AdamW8bitConfig::new().build());
            let pages = PagedOptimizerConfig::new(std::env::temp_dir());
            let optimizer = pages.build(optimizer).unwrap_or_else(|e| panic!("{e}"));
            train::<BitLinear>(model, optimizer.into(), FloatDType::BF16, PLAN_PAGED)
        },
    },
];

const PLAN: States = (OptimizerStates::AdamW, None);
const PLAN_8BIT: States = (OptimizerStates::AdamW8bit, None);
const PLAN_PAGED: States = (OptimizerStates::AdamW8bit, Some(0));

fn adamw() -> AdamWConfig {
    AdamWConfig::new()
        .with_epsilon(1e-8)
        .with_weight_decay(0.01)
}

/// Wraps an optimizer to step in f32 and round stochastically to bf16 latent weights.
fn rounding<O: Optimizer>(inner: O) -> QatOptimizer<O> {
    QatOptimizerConfig::new()
        .with_stochastic_rounding(Some(0))
        .build(inner)
}

/// Trains a variant of a model in this process, in turns.
pub fn take_turns(variant: &str, model: &str) {
    let variant = VARIANTS.iter().find(|v| v.name == variant);
    let model = Model::ALL.into_iter().find(|m| m.name() == model);
    let Some((variant, model)) = variant.zip(model) else {
        fail("no such variant of no such model");
    };
    // Flex loops start with less delay from within the thread pool that runs them, for all
    // variants.
    let plan = rayon::scope(|_| (variant.train)(model));
    stepping::answer(Memory::of_this_process(&plan));
}
