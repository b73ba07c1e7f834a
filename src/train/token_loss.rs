use burn::{
    backend::ExecutionError,
    tensor::Tensor,
    train::{
        ItemLazy,
        metric::{Adaptor, LossInput},
    },
};

/// Loss of a batch as the mean over tokens, with their number: the output of a language model's
/// step.
///
/// A mean of batch means is not the mean over tokens: batches with masks, and the last batch of an
/// epoch, differ in their number of tokens. Use this as the `Output` of a model's steps, or
/// implement [`Adaptor<TokenLoss>`](Adaptor) for your own output. Then
///
/// - [`TokenLossMetric`](super::TokenLossMetric) is the sum of the losses of all tokens of an epoch
///   divided by their number, for any batch size;
/// - [`CallbackStrategy::with_token_weights`](super::CallbackStrategy::with_token_weights) makes a
///   step of accumulated batches equal to that of one large batch.
///
/// # Example
///
/// ```
/// use bitnet_burn::{loss::CausalLmLoss, train::TokenLoss};
/// use burn::tensor::{Device, Int, Tensor};
///
/// let device = Device::default();
/// let logits = Tensor::<3>::zeros([1, 3, 8], &device);
/// // The first token is a prompt, which is ignored.
/// let targets = Tensor::<2, Int>::from_ints([[-100, 7, 1]], &device);
/// let mean = CausalLmLoss::new().forward(logits, targets);
/// let loss = TokenLoss::new(mean, 2);
/// assert!((loss.mean.into_scalar::<f32>() - 8f32.ln()).abs() < 1e-6);
/// ```
#[derive(Debug, Clone)]
pub struct TokenLoss {
    /// Mean over the counted tokens, of shape `[1]`.
    pub mean: Tensor<1>,
    /// Number of counted tokens.
    pub tokens: usize,
}

impl TokenLoss {
    /// Creates the loss from the mean over `tokens` tokens.
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
