//! The language model as something that burn-train's `Learner` trains.

use bitnet_burn::{
    loss::CausalLmLossConfig,
    nn::{BitNetLm, Projection},
    text::dataset::TokenBatch,
};
use burn::{
    backend::ExecutionError,
    module::Module,
    tensor::Tensor,
    train::{
        InferenceStep, ItemLazy, TrainOutput, TrainStep,
        metric::{Adaptor, LossInput},
    },
};

#[derive(Module, Debug)]
pub struct LanguageModel<P: Projection> {
    pub lm: BitNetLm<P>,
}

/// The loss of a batch.
pub struct BatchLoss(pub Tensor<1>);

impl ItemLazy for BatchLoss {
    fn sync(self) -> Result<Self, ExecutionError> {
        self.0.device().flush()?;
        Ok(Self(self.0.without_autodiff()))
    }
}

impl Adaptor<LossInput> for BatchLoss {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.0.clone())
    }
}

impl<P: Projection> LanguageModel<P> {
    fn loss(&self, batch: TokenBatch) -> Tensor<1> {
        let logits = self.lm.forward(batch.inputs);
        let loss = CausalLmLossConfig::new().init();
        loss.forward(logits, batch.targets)
    }
}

impl<P: Projection> TrainStep for LanguageModel<P> {
    type Input = TokenBatch;
    type Output = BatchLoss;

    fn step(&self, batch: TokenBatch) -> TrainOutput<BatchLoss> {
        let loss = self.loss(batch);
        let grads = loss.backward();
        TrainOutput::new(self, grads, BatchLoss(loss))
    }
}

impl<P: Projection> InferenceStep for LanguageModel<P> {
    type Input = TokenBatch;
    type Output = BatchLoss;

    fn step(&self, batch: TokenBatch) -> BatchLoss {
        BatchLoss(self.loss(batch))
    }
}
