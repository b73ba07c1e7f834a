//! Training of a language model step by step.

use std::{hint::black_box, time::Instant};

use bitnet_burn::{
    nn::{BitNetLm, BitNetLmConfig, GatedActivation, Projection},
    optim::FusedAdamWConfig,
    text::dataset::{Sequence, TokenBatch},
    train::{LanguageModel, MemoryPlan, MemoryPlanConfig, OptimizerStates},
};
use burn::{
    optim::ModuleOptimizer,
    tensor::Device,
    train::{TrainOutput, TrainStep},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::stepping;

/// Model to train.
#[derive(Clone, Copy, PartialEq)]
pub enum Model {
    /// Six layers of width 384, 8 windows of 256 characters.
    Small,
    /// About 60 million parameters and few tokens, so that parameters take most of the memory.
    Large,
    /// The shape of SmolLM2-135M: 30 layers of width 576, a vocabulary of 49152, 4 windows of 256 tokens.
    SmolLm2,
}

impl Model {
    pub const ALL: [Self; 3] = [Self::Small, Self::Large, Self::SmolLm2];

    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
            Self::SmolLm2 => "smollm2",
        }
    }

    pub fn config(self) -> BitNetLmConfig {
        match self {
            Self::Small => BitNetLmConfig::new(96, 384, 6, 6, 1536),
            Self::Large => BitNetLmConfig::new(96, 768, 8, 12, 2048),
            Self::SmolLm2 => BitNetLmConfig::new(49152, 576, 30, 9, 1536)
                .with_n_kv_heads(Some(3))
                .with_activation(GatedActivation::Silu)
                .with_sub_norm(false),
        }
        .with_max_positions(256)
    }

    /// Returns the number of timed steps of each variant.
    pub fn rounds(self) -> usize {
        match self {
            Self::Small | Self::Large => 15,
            Self::SmolLm2 => 3,
        }
    }

    /// Returns the windows and positions of a batch.
    fn batch(self) -> [usize; 2] {
        match self {
            Self::Small => [8, 256],
            Self::Large => [1, 64],
            Self::SmolLm2 => [4, 256],
        }
    }

    /// Returns a random batch.
    fn tokens(self, rng: &mut StdRng, device: &Device) -> TokenBatch {
        let [windows, positions] = self.batch();
        let vocab_size = self.config().vocab_size as u32;
        let sequences: Vec<Sequence> = (0..windows)
            .map(|_| {
                (0..=positions)
                    .map(|_| rng.random_range(0..vocab_size))
                    .collect()
            })
            .map(Sequence::unmasked)
            .collect();
        TokenBatch::new(&sequences, device)
    }
}

/// How a model is trained.
pub struct Training {
    pub optimizer: ModuleOptimizer,
    pub states: OptimizerStates,
    /// Bytes of states that stay in memory, if the others are in a file.
    pub page_budget: Option<u64>,
    pub gradient_checkpointing: bool,
}

impl Training {
    /// Training with the AdamW of `TrainingConfig`.
    pub fn adamw() -> Self {
        let optimizer = FusedAdamWConfig::new();
        Self::new(optimizer.init(), OptimizerStates::AdamW)
    }

    pub fn new(optimizer: ModuleOptimizer, states: OptimizerStates) -> Self {
        Self {
            optimizer,
            states,
            page_budget: None,
            gradient_checkpointing: false,
        }
    }

    pub fn with_gradient_checkpointing(self) -> Self {
        Self {
            gradient_checkpointing: true,
            ..self
        }
    }

    /// Takes training steps in turns, and returns the planned memory.
    pub fn steps<P: Projection>(mut self, model: Model, lm: BitNetLm<P>) -> MemoryPlan {
        let device = Device::default().autodiff();
        let [batch, positions] = model.batch();
        let plan = MemoryPlanConfig::new(batch, positions)
            .with_optimizer(self.states)
            .with_page_budget(self.page_budget)
            .with_gradient_checkpointing(self.gradient_checkpointing)
            .plan(&lm);
        let mut lm =
            LanguageModel::new(lm).with_gradient_checkpointing(self.gradient_checkpointing);
        let mut rng = StdRng::seed_from_u64(0);
        for () in stepping::turns() {
            let batch = model.tokens(&mut rng, &device);
            let start = Instant::now();
            let TrainOutput { grads, item } = TrainStep::step(&lm, batch);
            lm = self.optimizer.step(1e-4, lm, grads);
            black_box(item.mean.into_scalar::<f32>());
            stepping::answer(start.elapsed().as_secs_f64() * 1e3);
        }
        plan
    }
}
