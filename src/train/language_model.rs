use burn::{
    module::{Module, ModuleDisplay},
    optim::GradientsParams,
    train::{InferenceStep, TrainOutput, TrainStep},
};

use super::{GradientCheckpointing, Student, StudentStep, Teacher, TokenLoss};
use crate::{
    loss::{CausalLmLoss, StudentStates, TeacherStates},
    nn::{BitNetLm, Projection},
    text::dataset::TokenBatch,
};

/// [`BitNetLm`] that learns to predict the next token, trainable by a [`Trainer`](super::Trainer)
/// or Burn's `Learner`.
///
/// The loss is the mean cross-entropy over the counted [targets](TokenBatch::targets), with their
/// number ([`TokenLoss`]). It can also be a [`Student`], or a [`Teacher`] of logits.
///
/// # Example
///
/// ```
/// use bitnet_burn::{
///     nn::{BitLinear, BitNetLmConfig},
///     text::dataset::{Sequence, TokenBatch},
///     train::LanguageModel,
/// };
/// use burn::{tensor::Device, train::InferenceStep};
///
/// let device = Device::default();
/// let lm = BitNetLmConfig::new(16, 32, 1, 2, 64).init::<BitLinear>(&device);
/// let batch = TokenBatch::new(&[Sequence::unmasked(vec![1, 2, 3, 4])], &device);
/// assert_eq!(LanguageModel::new(lm).step(batch).tokens, 3);
/// ```
#[derive(Module, Debug)]
pub struct LanguageModel<P: Projection> {
    /// Wrapped model.
    pub lm: BitNetLm<P>,
    gradient_checkpointing: GradientCheckpointing,
}

impl<P: Projection> LanguageModel<P> {
    /// Wraps a model.
    pub fn new(lm: BitNetLm<P>) -> Self {
        Self {
            lm,
            gradient_checkpointing: GradientCheckpointing::new(false),
        }
    }

    /// Sets gradient checkpointing: a training step holds the activations of one block at a time, and computes each block
    /// again in the backward pass ([`BitNetLm::forward_backward`]). Losses and gradients are the same bit for bit.
    ///
    /// It is for training alone, not for a [`Student`], whose states come from one forward pass.
    #[must_use]
    pub fn with_gradient_checkpointing(mut self, is_on: bool) -> Self {
        self.gradient_checkpointing = GradientCheckpointing::new(is_on);
        self
    }

    /// Returns the loss of a batch.
    fn loss(&self, batch: TokenBatch) -> TokenLoss {
        let mean = CausalLmLoss::new().forward_lm(&self.lm, batch.inputs, batch.targets);
        TokenLoss::new(mean, batch.tokens)
    }

    /// Returns the loss of a batch and the logits.
    fn forward(&self, batch: TokenBatch) -> (TokenLoss, StudentStates) {
        let logits = self.lm.forward(batch.inputs);
        let loss = CausalLmLoss::new();
        let mean = loss.forward(logits.clone(), batch.targets);
        let loss = TokenLoss::new(mean, batch.tokens);
        (loss, StudentStates::new(logits))
    }
}

impl<P: Projection> TrainStep for LanguageModel<P> {
    type Input = TokenBatch;
    type Output = TokenLoss;

    fn step(&self, batch: TokenBatch) -> TrainOutput<TokenLoss> {
        let TokenBatch {
            inputs,
            targets,
            tokens,
        } = batch;
        let loss = |states| CausalLmLoss::new().forward_states(&self.lm, states, targets);
        let (mean, grads) = match self.gradient_checkpointing.is_on() {
            true => self.lm.forward_backward(inputs, loss),
            false => {
                // Those of gradient checkpointing, so that both have the same random numbers.
                let seeds = self.lm.block_seeds();
                let mean = loss(self.lm.model.forward_seeded(inputs, &seeds));
                let grads = GradientsParams::from_grads(mean.backward(), self);
                seeds.start(self.lm.model.layers.len() + 1);
                (mean, grads)
            }
        };
        let item = TokenLoss::new(mean, tokens);
        TrainOutput { grads, item }
    }
}

impl<P: Projection> InferenceStep for LanguageModel<P> {
    type Input = TokenBatch;
    type Output = TokenLoss;

    fn step(&self, batch: TokenBatch) -> TokenLoss {
        self.loss(batch)
    }
}

impl<P: Projection + ModuleDisplay> Student for LanguageModel<P> {
    fn student_forward(&self, batch: TokenBatch) -> StudentStep<TokenLoss> {
        assert!(
            !self.gradient_checkpointing.is_on(),
            "a student has no gradient checkpointing: its states come from one forward pass"
        );
        let (output, states) = self.forward(batch);
        StudentStep {
            loss: output.mean.clone(),
            states,
            output,
        }
    }
}

impl<P: Projection + ModuleDisplay> Teacher<TokenBatch> for LanguageModel<P> {
    fn teacher_forward(&self, batch: TokenBatch) -> TeacherStates {
        TeacherStates::new(self.lm.forward(batch.inputs))
    }
}
