use burn::{
    optim::GradientsParams,
    tensor::{Int, Tensor},
};

use super::{BitNetLm, Projection, block_checkpoints::BlockCheckpoints, block_seeds::BlockSeeds};

impl<P: Projection> BitNetLm<P> {
    /// Computes a loss and the gradients of the parameters with the activations of one block at a time in memory:
    /// gradient checkpointing by blocks.
    ///
    /// `loss` receives the normalized hidden states `[batch, positions, d_model]` that
    /// [`BitNetModel::forward`](super::BitNetModel::forward) returns, and returns a loss of shape `[1]`. The forward
    /// pass keeps the input of each block alone. The backward pass computes each block again from its input, from the
    /// last one down to the lowest that trains: a third more work for a fraction of the memory.
    ///
    /// Loss and gradients are those of one graph, bit for bit; of a parameter that several blocks share, and that one of
    /// them reads several times, they may differ in the last bit. Observers and measurements of quantizers see each
    /// block once. A block draws the same random numbers both times, such as the dropout of adapters: those that a
    /// training step of `LanguageModel` draws without checkpointing, too.
    ///
    /// Source: [Training Deep Nets with Sublinear Memory Cost](https://arxiv.org/abs/1604.06174).
    ///
    /// # Shapes
    ///
    /// - tokens: `[batch, positions]`
    ///
    /// # Panics
    ///
    /// As [`BitNetModel::forward`](super::BitNetModel::forward); if no parameter trains; if another thread draws random
    /// numbers of the device while a model with dropout is in this step, since the device has one sequence of them.
    ///
    /// # Example
    ///
    /// ```
    /// use bitnet_burn::{loss::CausalLmLoss, nn::{BitNetLm, BitNetLmConfig}};
    /// use burn::tensor::{Device, Int, Tensor};
    ///
    /// let device = Device::default();
    /// let lm: BitNetLm = BitNetLmConfig::new(16, 32, 2, 2, 64).init(&device.clone().autodiff());
    /// let tokens = Tensor::<2, Int>::from_ints([[1, 2, 3, 4]], &device);
    /// let (inputs, targets) = (tokens.clone().narrow(1, 0, 3), tokens.narrow(1, 1, 3));
    /// let (_, gradients) = lm.forward_backward(inputs, |hidden| {
    ///     CausalLmLoss::new().forward_states(&lm, hidden, targets)
    /// });
    /// assert!(gradients.get::<2>(lm.model.layers[0].mlp.up_proj.weight.id).is_some());
    /// ```
    #[track_caller]
    pub fn forward_backward(
        &self,
        tokens: Tensor<2, Int>,
        loss: impl FnOnce(Tensor<3>) -> Tensor<1>,
    ) -> (Tensor<1>, GradientsParams) {
        let seeds = self.block_seeds();
        let (mut checkpoints, output) = BlockCheckpoints::forward(self, tokens, seeds);
        let loss = checkpoints.head(output, loss);
        checkpoints.blocks();
        checkpoints.first_part();
        (loss, checkpoints.gradients())
    }

    /// Returns the seeds of a training step, if projections draw random numbers of the device in it.
    pub(crate) fn block_seeds(&self) -> BlockSeeds {
        let device = self.model.embed_tokens.weight.val().device();
        let draws = self.projections().any(|(_, p)| p.draws_random_numbers());
        match draws && device.is_autodiff() {
            true => BlockSeeds::draw(device),
            false => BlockSeeds::none(),
        }
    }
}
