//! The language model as something that burn-train's `Learner` can train.

use bitnet_burn::{
    nn::{BitNetLm, BitNetLmConfig, Projection},
    optim::clip_grad_norm,
};
use burn::{
    lr_scheduler::module_lr_scheduler::ModuleLearningRate,
    module::Module,
    nn::loss::CrossEntropyLossConfig,
    optim::{GradientsParams, ModuleOptimizer},
    train::{InferenceStep, SequenceOutput, TrainOutput, TrainStep},
};

use crate::data::{Batch, CONTEXT};

/// Largest norm of all gradients together.
pub const MAX_GRAD_NORM: f64 = 1.0;

pub fn config(vocab_size: usize) -> BitNetLmConfig {
    BitNetLmConfig::new(vocab_size, 128, 2, 4, 384)
        .with_max_positions(CONTEXT)
        .with_tied_embeddings(false)
}

#[derive(Module, Debug)]
pub struct LanguageModel<P: Projection> {
    pub lm: BitNetLm<P>,
}

impl<P: Projection> LanguageModel<P> {
    fn output(&self, batch: Batch) -> SequenceOutput {
        let logits = self.lm.forward(batch.inputs);
        let [windows, positions, vocab_size] = logits.dims();
        let loss = CrossEntropyLossConfig::new()
            .init(&logits.device())
            .forward(
                logits.clone().reshape([windows * positions, vocab_size]),
                batch.targets.clone().reshape([windows * positions]),
            );
        SequenceOutput::new(loss, logits, None, batch.targets)
    }
}

impl<P: Projection> TrainStep for LanguageModel<P> {
    type Input = Batch;
    type Output = SequenceOutput;

    fn step(&self, batch: Batch) -> TrainOutput<SequenceOutput> {
        let output = self.output(batch);
        let grads = output.loss.backward();
        TrainOutput::new(self, grads, output)
    }

    fn optimize(
        self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        let (grads, _norm) = clip_grad_norm(&self, grads, MAX_GRAD_NORM);
        optim.step(lr, self, grads)
    }
}

impl<P: Projection> InferenceStep for LanguageModel<P> {
    type Input = Batch;
    type Output = SequenceOutput;

    fn step(&self, batch: Batch) -> SequenceOutput {
        self.output(batch)
    }
}
