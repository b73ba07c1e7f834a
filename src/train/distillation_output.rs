use burn::{
    backend::ExecutionError,
    train::{
        ItemLazy,
        metric::{AccuracyInput, Adaptor, LossInput, PerplexityInput, TopKAccuracyInput},
    },
};

use super::TokenLoss;
use crate::loss::DistillationLosses;

/// Output of a distillation step for metrics: the losses, and the student's output.
///
/// The loss is the total. Accuracies and perplexity are those of the student's output, if
/// available.
pub struct DistillationOutput<O> {
    /// Student's output.
    pub output: O,
    /// Total loss and its parts.
    pub losses: DistillationLosses,
}

impl<O: ItemLazy> ItemLazy for DistillationOutput<O> {
    fn sync(self) -> Result<Self, ExecutionError> {
        let losses = self.losses;
        Ok(Self {
            output: self.output.sync()?,
            losses: DistillationLosses {
                total: losses.total.without_autodiff(),
                task: losses.task.without_autodiff(),
                logits: losses.logits.map(|part| part.without_autodiff()),
                hidden: losses.hidden.map(|part| part.without_autodiff()),
                attention: losses.attention.map(|part| part.without_autodiff()),
                tokens: losses.tokens.without_autodiff(),
            },
        })
    }
}

impl<O> Adaptor<LossInput> for DistillationOutput<O> {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.losses.total.clone())
    }
}

/// Returns the total, with the tokens of the student's own loss.
impl<O: Adaptor<TokenLoss>> Adaptor<TokenLoss> for DistillationOutput<O> {
    fn adapt(&self) -> TokenLoss {
        let student: TokenLoss = self.output.adapt();
        TokenLoss::new(self.losses.total.clone(), student.tokens)
    }
}

impl<O> Adaptor<DistillationLosses> for DistillationOutput<O> {
    fn adapt(&self) -> DistillationLosses {
        self.losses.clone()
    }
}

impl<O: Adaptor<PerplexityInput>> Adaptor<PerplexityInput> for DistillationOutput<O> {
    fn adapt(&self) -> PerplexityInput {
        self.output.adapt()
    }
}

impl<O: Adaptor<AccuracyInput>> Adaptor<AccuracyInput> for DistillationOutput<O> {
    fn adapt(&self) -> AccuracyInput {
        self.output.adapt()
    }
}

impl<O: Adaptor<TopKAccuracyInput>> Adaptor<TopKAccuracyInput> for DistillationOutput<O> {
    fn adapt(&self) -> TopKAccuracyInput {
        self.output.adapt()
    }
}
