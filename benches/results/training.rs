//! Training of a language model step by step.

use std::{hint::black_box, time::Instant};

use bitnet_burn::{
    nn::{BitNetLm, BitNetLmConfig, TrainableProjection},
    qat::cast_latent_weights,
    quant::QatScheme,
    train::{MemoryPlan, MemoryPlanConfig, OptimizerStates},
};
use burn::{
    nn::loss::CrossEntropyLossConfig,
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Device, FloatDType, Int, Tensor},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::stepping;

/// Model to train.
#[derive(Clone, Copy)]
pub enum Model {
    /// Six layers of width 384, 8 windows of 256 characters.
    Small,
    /// About 60 million parameters and few tokens, so that parameters take most of the memory.
    Large,
}

impl Model {
    pub const ALL: [Self; 2] = [Self::Small, Self::Large];

    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }

    fn config(self) -> BitNetLmConfig {
        match self {
            Self::Small => BitNetLmConfig::new(96, 384, 6, 6, 1536),
            Self::Large => BitNetLmConfig::new(96, 768, 8, 12, 2048),
        }
        .with_max_positions(256)
    }

    /// Returns the windows and positions of a batch.
    fn batch(self) -> [usize; 2] {
        match self {
            Self::Small => [8, 256],
            Self::Large => [1, 64],
        }
    }
}

/// Optimizer states, and the bytes of them that stay in memory.
pub type States = (OptimizerStates, Option<u64>);

/// Trains a language model in turns, and returns the planned memory.
pub fn train<P: TrainableProjection>(
    model: Model,
    optimizer: ModuleOptimizer,
    latent_dtype: FloatDType,
    states: States,
) -> MemoryPlan {
    train_with::<P>(model, QatScheme::b1_58(), optimizer, latent_dtype, states)
}

/// As [`train`], with a scheme.
pub fn train_with<P: TrainableProjection>(
    model: Model,
    scheme: QatScheme,
    mut optimizer: ModuleOptimizer,
    latent_dtype: FloatDType,
    (states, page_budget): States,
) -> MemoryPlan {
    let device = Device::default().autodiff();
    let lm: BitNetLm<P> = model.config().with_scheme(scheme).init(&device);
    let mut lm = match latent_dtype {
        FloatDType::F32 => lm,
        dtype => cast_latent_weights(lm, dtype),
    };
    let [batch, positions] = model.batch();
    let plan = MemoryPlanConfig::new(batch, positions)
        .with_optimizer(states)
        .with_page_budget(page_budget)
        .plan(&lm);
    let mut rng = StdRng::seed_from_u64(0);
    for () in stepping::turns() {
        let [inputs, targets] = [(); 2].map(|()| tokens(model, &mut rng, &device));
        let start = Instant::now();
        let logits = lm.forward(inputs);
        let [windows, positions, vocab_size] = logits.dims();
        let rows = windows * positions;
        let loss = CrossEntropyLossConfig::new()
            .init(&device)
            .forward(logits.reshape([rows, vocab_size]), targets.reshape([rows]));
        let grads = GradientsParams::from_grads(loss.backward(), &lm);
        lm = optimizer.step(1e-3, lm, grads);
        black_box(loss.into_scalar::<f32>());
        stepping::answer(start.elapsed().as_secs_f64() * 1e3);
    }
    plan
}

fn tokens(model: Model, rng: &mut StdRng, device: &Device) -> Tensor<2, Int> {
    let shape = model.batch();
    let vocab_size = model.config().vocab_size as i32;
    let tokens: Vec<i32> = (0..shape[0] * shape[1])
        .map(|_| rng.random_range(0..vocab_size))
        .collect();
    Tensor::<1, Int>::from_ints(tokens.as_slice(), device).reshape(shape)
}
