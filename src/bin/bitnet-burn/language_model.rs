//! The language model as something that burn-train's `Learner` trains.

use bitnet_burn::{
    loss::CausalLmLossConfig,
    nn::{BitNetLm, Projection},
    text::dataset::TokenBatch,
    train::TokenLoss,
};
use burn::{
    module::Module,
    train::{InferenceStep, TrainOutput, TrainStep},
};

#[derive(Module, Debug)]
pub struct LanguageModel<P: Projection> {
    pub lm: BitNetLm<P>,
}

impl<P: Projection> LanguageModel<P> {
    fn loss(&self, batch: TokenBatch) -> TokenLoss {
        let logits = self.lm.forward(batch.inputs);
        let loss = CausalLmLossConfig::new().init();
        TokenLoss::new(loss.forward(logits, batch.targets), batch.tokens)
    }
}

impl<P: Projection> TrainStep for LanguageModel<P> {
    type Input = TokenBatch;
    type Output = TokenLoss;

    fn step(&self, batch: TokenBatch) -> TrainOutput<TokenLoss> {
        let loss = self.loss(batch);
        let grads = loss.mean.backward();
        TrainOutput::new(self, grads, loss)
    }
}

impl<P: Projection> InferenceStep for LanguageModel<P> {
    type Input = TokenBatch;
    type Output = TokenLoss;

    fn step(&self, batch: TokenBatch) -> TokenLoss {
        self.loss(batch)
    }
}
