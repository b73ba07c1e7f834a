//! Variants of training a language model.

use bitnet_burn::{
    nn::{BitLinear, BitNetLm, TrainableProjection},
    optim::{AdamW8bitConfig, PagedOptimizerConfig, QatOptimizer, QatOptimizerConfig},
    qat::cast_latent_weights,
    quant::{InputGradient, QatScheme},
    train::{MemoryPlan, OptimizerStates},
};
use burn::{
    nn::Linear,
    optim::Optimizer,
    tensor::{Device, FloatDType},
};

use crate::{
    fail,
    peak::Memory,
    stepping,
    training::{Model, Training},
};

/// Variant of a training.
pub struct Variant {
    pub name: &'static str,
    pub title: &'static str,
    models: &'static [Model],
    /// Trains in turns, and returns the planned memory.
    train: fn(Model) -> MemoryPlan,
}

impl Variant {
    /// Returns the variants of a model, full precision first.
    pub fn of(model: Model) -> impl Iterator<Item = &'static Self> {
        VARIANTS.iter().filter(move |v| v.models.contains(&model))
    }
}

/// Models whose variants are small enough to be in memory together.
const SHORT: &[Model] = &[Model::Small, Model::Large];

const VARIANTS: [Variant; 7] = [
    Variant {
        name: "fp",
        title: "full precision, AdamW",
        models: &Model::ALL,
        train: |model| Training::adamw().steps(model, latent::<Linear>(model)),
    },
    Variant {
        name: "qat",
        title: "QAT, AdamW",
        models: &Model::ALL,
        train: |model| Training::adamw().steps(model, latent::<BitLinear>(model)),
    },
    Variant {
        name: "qat-int8-gradients",
        title: "QAT with int8 gradients of inputs, AdamW",
        models: &Model::ALL,
        train: |model| {
            let scheme = QatScheme::b1_58().with_input_gradient(InputGradient::Int8);
            let lm: BitNetLm<BitLinear> = initialized(model, scheme);
            Training::adamw().steps(model, lm)
        },
    },
    Variant {
        name: "qat-checkpointing",
        title: "QAT with gradient checkpointing, AdamW",
        models: &[Model::SmolLm2],
        train: |model| {
            let training = Training::adamw().with_gradient_checkpointing();
            training.steps(model, latent::<BitLinear>(model))
        },
    },
    Variant {
        name: "qat-8bit",
        title: "QAT, AdamW8bit",
        models: SHORT,
        train: |model| {
            let optimizer = AdamW8bitConfig::new().init();
            let training = Training::new(optimizer, OptimizerStates::AdamW8bit);
            training.steps(model, latent::<BitLinear>(model))
        },
    },
    Variant {
        name: "qat-8bit-bf16",
        title: "QAT, AdamW8bit, bf16 latent weights",
        models: &Model::ALL,
        train: |model| {
            let optimizer = rounding(AdamW8bitConfig::new().build());
            let training = Training::new(optimizer.into(), OptimizerStates::AdamW8bit);
            training.steps(model, latent_bf16(model))
        },
    },
    Variant {
        name: "qat-paged-bf16",
        title: "QAT, paged AdamW8bit, bf16 latent weights",
        models: SHORT,
        train: |model| {
            let optimizer = rounding(AdamW8bitConfig::new().build());
            let pages = PagedOptimizerConfig::new(std::env::temp_dir());
            let optimizer = pages.build(optimizer).unwrap_or_else(|e| panic!("{e}"));
            let training = Training {
                page_budget: Some(0),
                ..Training::new(optimizer.into(), OptimizerStates::AdamW8bit)
            };
            training.steps(model, latent_bf16(model))
        },
    },
];

fn latent<P: TrainableProjection>(model: Model) -> BitNetLm<P> {
    initialized(model, QatScheme::b1_58())
}

fn latent_bf16(model: Model) -> BitNetLm<BitLinear> {
    cast_latent_weights(latent(model), FloatDType::BF16)
}

fn initialized<P: TrainableProjection>(model: Model, scheme: QatScheme) -> BitNetLm<P> {
    let config = model.config().with_scheme(scheme);
    config.init(&Device::default().autodiff())
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
