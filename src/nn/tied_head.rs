use burn::{module::Param, nn::Linear, tensor::Tensor};

use super::{BitNetLm, Projection};

impl<P: Projection> BitNetLm<P> {
    /// Gives a model whose head is the embedding table a head of its own, with the values of the table. The
    /// logits stay the same; from then on table and head train apart.
    ///
    /// # Example
    ///
    /// ```
    /// use bitnet_burn::nn::{BitLinear, BitNetLm, BitNetLmConfig};
    /// use burn::tensor::Device;
    ///
    /// let config = BitNetLmConfig::new(64, 32, 1, 2, 48).with_tied_embeddings(true);
    /// let lm: BitNetLm<BitLinear> = config.init(&Device::default());
    /// assert!(lm.lm_head.is_none());
    /// assert!(lm.with_own_head().lm_head.is_some());
    /// ```
    #[must_use]
    pub fn with_own_head(mut self) -> Self {
        self.lm_head.get_or_insert_with(|| {
            let table = &self.model.embed_tokens.weight;
            Linear {
                weight: Param::from_tensor(own_values(table)),
                bias: None,
            }
        });
        self
    }
}

/// Returns the values of a table `[vocab_size, d_model]` as the weight `[d_model, vocab_size]` of a head that
/// trains as the table does.
fn own_values(table: &Param<Tensor<2>>) -> Tensor<2> {
    let values = table.val();
    let (is_autodiff, trains) = (values.is_autodiff(), table.is_require_grad());
    let values = values.without_autodiff().transpose();
    let values = match is_autodiff {
        true => values.autodiff(),
        false => values,
    };
    values.set_require_grad(trains)
}
