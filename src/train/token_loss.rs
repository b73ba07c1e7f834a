use burn::{
    backend::ExecutionError,
    tensor::Tensor,
    train::{
        ItemLazy,
        metric::{Adaptor, LossInput},
    },
};

/// Loss of a batch as the mean over tokens, with their number: the output of a step of a language model.
///
/// A mean of means is no mean: batches with masks, and the last batch of an epoch, hold other numbers
/// of tokens. Give this as the `Output` of a model's steps, or implement
/// [`Adaptor<TokenLoss>`](Adaptor) for an output of your own, and
///
/// - [`TokenLossMetric`](super::TokenLossMetric) is the sum of the losses of all tokens of an epoch,
///   divided by their number, whatever the batch size;
/// - [`CallbackStrategy::with_token_weights`](super::CallbackStrategy::with_token_weights) makes the
///   step of accumulated batches that of one large batch.
///
/// # Example
///
/// ```
/// use bitnet_burn::{loss::CausalLmLossConfig, train::TokenLoss};
/// use burn::tensor::{Device, Int, Tensor};
///
/// let device = Device::default();
/// let logits = Tensor::<3>::zeros([1, 3, 8], &device);
/// // The first token is a prompt, which is not learned.
/// let targets = Tensor::<2, Int>::from_ints([[-100, 7, 1]], &device);
/// let mean = CausalLmLossConfig::new().init().forward(logits, targets);
/// let loss = TokenLoss::new(mean, 2);
/// assert!((loss.mean.into_scalar::<f32>() - 8f32.ln()).abs() < 1e-6);
/// ```
#[derive(Debug, Clone)]
pub struct TokenLoss {
    /// The mean over the tokens that count, of shape `[1]`.
    pub mean: Tensor<1>,
    /// Number of tokens that count.
    pub tokens: usize,
}

impl TokenLoss {
    /// The mean loss of so many tokens.
    pub fn new(mean: Tensor<1>, tokens: usize) -> Self {
        Self { mean, tokens }
    }
}

impl ItemLazy for TokenLoss {
    fn sync(self) -> Result<Self, ExecutionError> {
        self.mean.device().flush()?;
        Ok(Self {
            mean: self.mean.without_autodiff(),
            tokens: self.tokens,
        })
    }
}

impl Adaptor<TokenLoss> for TokenLoss {
    fn adapt(&self) -> TokenLoss {
        self.clone()
    }
}

impl Adaptor<LossInput> for TokenLoss {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.mean.clone())
    }
}
