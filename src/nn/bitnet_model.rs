use burn::{
    module::Module,
    nn::{Embedding, RmsNorm},
    tensor::{Int, Tensor},
};

use super::{
    BitLinear, KeyValues, LowRankProducts, Projection, Prompt, PromptKind, RotaryEmbedding,
    block_seeds::BlockSeeds, decoder_layer::DecoderLayer, norm::normalize,
};

/// The decoder stack of a [`BitNetLm`](super::BitNetLm).
#[derive(Module, Debug)]
pub struct BitNetModel<P: Projection = BitLinear> {
    /// Token embedding.
    pub embed_tokens: Embedding,
    /// Products of low rank beside the token embedding; a head that is the same table does not see them.
    pub embed_products: LowRankProducts,
    /// Decoder layers.
    pub layers: Vec<DecoderLayer<P>>,
    /// Final norm.
    pub norm: RmsNorm,
    /// Position embedding.
    pub rotary: RotaryEmbedding,
    /// Trained positions before the tokens.
    pub prompt: Option<Prompt>,
}

impl<P: Projection> BitNetModel<P> {
    /// Computes the normalized hidden states of each position.
    ///
    /// # Shapes
    ///
    /// - tokens: `[batch, positions]`
    /// - output: `[batch, positions, d_model]`
    ///
    /// # Panics
    ///
    /// If there are more tokens than [`max_tokens`](Self::max_tokens), or the prompt does not fit the model.
    #[track_caller]
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.forward_seeded(tokens, &BlockSeeds::none())
    }

    /// Computes the forward pass with the random numbers of each block from its seed.
    #[track_caller]
    pub(crate) fn forward_seeded(&self, tokens: Tensor<2, Int>, seeds: &BlockSeeds) -> Tensor<3> {
        let [_, positions] = tokens.dims();
        self.check_positions(positions);
        let (mut x, pasts) = self.prompted(self.embed(tokens));
        for (block, (layer, past)) in self.layers.iter().zip(pasts).enumerate() {
            seeds.start(block);
            x = layer.forward(x, &self.rotary, past);
        }
        seeds.start(self.layers.len());
        self.last_states(x, positions)
    }

    /// Checks that tokens fit behind the prompt.
    #[track_caller]
    pub(super) fn check_positions(&self, positions: usize) {
        let n_virtual = self.n_virtual();
        assert!(
            n_virtual == 0 || positions <= self.max_tokens(),
            "{n_virtual} positions of a prompt and {positions} of tokens go beyond max_positions {}",
            self.rotary.max_positions()
        );
    }

    /// Returns the embeddings of tokens, with the active products.
    pub(super) fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let x = self.embed_tokens.forward(tokens.clone());
        (self.embed_products).added_to(x, |product| product.rows(tokens.clone()))
    }

    /// Returns the number of positions of the prompt, if there is one that is active.
    pub fn n_virtual(&self) -> usize {
        self.active_prompt().map_or(0, Prompt::n_virtual)
    }

    /// Returns the maximum number of tokens of a sequence: `max_positions`, less those of the prompt.
    pub fn max_tokens(&self) -> usize {
        let max_positions = self.rotary.max_positions();
        max_positions.saturating_sub(self.n_virtual())
    }

    /// Returns embeddings of tokens behind those of the prompt, and its keys and values in each layer.
    #[track_caller]
    pub(super) fn prompted(&self, x: Tensor<3>) -> (Tensor<3>, Vec<Option<KeyValues>>) {
        match self.active_prompt() {
            Some(prompt) if prompt.kind() == PromptKind::Prefix => {
                let key_shape = self.layers.first().map(|l| l.self_attn.key_shape());
                let pasts = key_shape.map(|shape| prompt.key_values(self.layers.len(), shape));
                (x, pasts.into_iter().flatten().map(Some).collect())
            }
            Some(prompt) => (prompt.prepend(x), self.no_pasts()),
            None => (x, self.no_pasts()),
        }
    }

    /// Returns layers without a past.
    pub(super) fn no_pasts(&self) -> Vec<Option<KeyValues>> {
        vec![None; self.layers.len()]
    }

    /// Returns the normalized states of the last positions, those of the tokens.
    pub(super) fn last_states(&self, x: Tensor<3>, positions: usize) -> Tensor<3> {
        let all = x.dims()[1];
        let x = match all == positions {
            true => x,
            false => x.narrow(1, all - positions, positions),
        };
        normalize(&self.norm, x)
    }

    fn active_prompt(&self) -> Option<&Prompt> {
        self.prompt.as_ref().filter(|prompt| prompt.is_active())
    }
}
