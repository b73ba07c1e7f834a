use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{DType, Int, Tensor},
};

use super::{
    BitNetLm, KeyValues, Projection,
    block_seeds::BlockSeeds,
    gradient_sum::{add_gradients, has_trained, product},
};
use crate::qat::QuantControls;

/// Operations between the input of a part and what reads it: more than a weight passes before it meets the input.
///
/// Burn sums the gradients of a tensor that several operations read in the order of their depths in the graph. Behind
/// these operations the input is deeper than the weights of its part, as it is inside one graph of all parts, so that
/// the order is the same.
const DEPTH: usize = 32;

/// A training step of a language model in parts, each with a graph of its own: the embeddings with the first block, each
/// other block, and the head.
pub(super) struct BlockCheckpoints<'a, P: Projection> {
    lm: &'a BitNetLm<P>,
    tokens: Tensor<2, Int>,
    seeds: BlockSeeds,
    /// Witnesses of the random numbers that each block drew.
    witnesses: Vec<Option<Tensor<1>>>,
    /// Differences from those of blocks that were computed again.
    differences: Vec<Tensor<1>>,
    /// Inputs of the blocks after the first one, up to the one that is computed again next.
    inputs: Vec<Tensor<3>>,
    /// Keys and values of a prefix in each block, as constants.
    pasts: Vec<Option<KeyValues>>,
    /// Gradients of those, by block.
    past_grads: Vec<(usize, [Option<Tensor<4>>; 2])>,
    /// Gradient of the output of the part that is computed again next.
    upstream: Option<Tensor<3>>,
    /// Gradients of the parameters so far.
    sum: GradientsParams,
}

impl<'a, P: Projection> BlockCheckpoints<'a, P> {
    /// Computes the blocks without a graph. Returns the output of the last one, too.
    #[track_caller]
    pub fn forward(
        lm: &'a BitNetLm<P>,
        tokens: Tensor<2, Int>,
        seeds: BlockSeeds,
    ) -> (Self, Tensor<3>) {
        lm.model.check_positions(tokens.dims()[1]);
        // On the device of training, where noise, dropout and observers act.
        let constant = lm.model.clone().no_grad();
        let (mut x, pasts) = constant.prompted(constant.embed(tokens.clone()));
        let (mut inputs, mut witnesses) = (Vec::new(), Vec::new());
        for (block, (layer, past)) in constant.layers.iter().zip(&pasts).enumerate() {
            if block > 0 {
                inputs.push(x.clone());
            }
            seeds.start(block);
            x = layer.forward(x, &constant.rotary, past.clone());
            witnesses.push(seeds.witness());
        }
        let checkpoints = Self {
            lm,
            tokens,
            seeds,
            witnesses,
            differences: Vec::new(),
            inputs,
            pasts,
            past_grads: Vec::new(),
            upstream: None,
            sum: GradientsParams::new(),
        };
        (checkpoints, x)
    }

    /// Computes the loss of the output of the last block, and its gradients.
    pub fn head(
        &mut self,
        output: Tensor<3>,
        loss: impl FnOnce(Tensor<3>) -> Tensor<1>,
    ) -> Tensor<1> {
        let (model, [_, positions]) = (&self.lm.model, self.tokens.dims());
        let blocks = model.layers.len();
        self.seeds.start(blocks);
        let output = leaf(output, self.trains_before(blocks));
        let loss = loss(model.last_states(deep(&output), positions));
        let mut grads = loss.backward();
        add_gradients(self.lm, &mut grads, &mut self.sum);
        self.upstream = output.grad_remove(&mut grads);
        loss
    }

    /// Computes the blocks after the first one again, and their gradients, from the last one to the lowest that trains
    /// or lies above one that does.
    pub fn blocks(&mut self) {
        for block in (1..self.lm.model.layers.len()).rev() {
            let (Some(upstream), Some(input)) = (self.upstream.take(), self.inputs.pop()) else {
                return;
            };
            let input = leaf(input, self.trains_before(block));
            let past = self.pasts[block].take().map(|past| self.past_leaf(past));
            let y = self.again(block, deep(&input), past.clone());
            let Some(root) = product(y, upstream) else {
                return;
            };
            let mut grads = root.backward();
            add_gradients(&self.lm.model.layers[block], &mut grads, &mut self.sum);
            self.upstream = input.grad_remove(&mut grads);
            if let Some(KeyValues { key, value }) = past {
                let of_past = [key, value].map(|leaf| leaf.grad_remove(&mut grads));
                self.past_grads.push((block, of_past));
            }
        }
    }

    /// Computes the embeddings, the prompt and the first block again, and their gradients.
    pub fn first_part(&mut self) {
        let Some(upstream) = self.upstream.take() else {
            return;
        };
        let lm = self.lm;
        let model = &lm.model;
        let (x, pasts) = model.prompted(model.embed(self.tokens.clone()));
        let y = match pasts.first() {
            Some(past) => self.again(0, x, past.clone()),
            None => x,
        };
        let of_pasts = self.past_grads.drain(..).flat_map(|(block, grads)| {
            let past = pasts[block].clone();
            let values = past.map(|KeyValues { key, value }| [key, value]);
            let pairs = values.into_iter().flatten().zip(grads);
            pairs.filter_map(|(value, grad)| product(value, grad?))
        });
        let terms = product(y, upstream).into_iter().chain(of_pasts);
        let terms = terms.map(|term| term.cast(DType::F32));
        if let Some(root) = terms.reduce(|sum, term| sum + term) {
            add_gradients(lm, &mut root.backward(), &mut self.sum);
        }
    }

    /// Returns the gradients of all parts.
    ///
    /// # Panics
    ///
    /// If a recomputed block draws other random numbers than the first time.
    #[track_caller]
    pub fn gradients(self) -> GradientsParams {
        let differences = self.differences.into_iter();
        let difference = differences.reduce(|sum, difference| sum + difference);
        let difference = difference.map_or(0.0, |sum| sum.into_scalar::<f32>());
        assert!(
            difference == 0.0,
            "a block draws the same random numbers when it is computed again, and it drew others: another thread drew \
             random numbers of the device within this step, or the numbers of a projection do not depend on the seed of \
             the device alone"
        );
        self.seeds.start(self.lm.model.layers.len() + 1);
        self.sum
    }

    /// Applies a block that was applied before.
    fn again(&mut self, block: usize, x: Tensor<3>, past: Option<KeyValues>) -> Tensor<3> {
        let model = &self.lm.model;
        let (layer, rotary) = (&model.layers[block], &model.rotary);
        self.seeds.start(block);
        let y = QuantControls::of(layer).unobserved(|| layer.forward(x, rotary, past));
        let before = self.witnesses[block].take();
        let differences = before.zip(self.seeds.witness()).map(|(a, b)| (a - b).abs());
        self.differences.extend(differences);
        y
    }

    /// Returns whether the input of a block has a gradient in one graph.
    fn trains_before(&self, block: usize) -> bool {
        let model = &self.lm.model;
        has_trained(&model.embed_tokens)
            || has_trained(&model.embed_products)
            || has_trained(&model.prompt)
            || model.layers[..block].iter().any(has_trained)
    }

    /// Returns keys and values of a prefix with gradients of their own, if it trains.
    fn past_leaf(&self, past: KeyValues) -> KeyValues {
        let trains = has_trained(&self.lm.model.prompt);
        KeyValues {
            key: leaf(past.key, trains),
            value: leaf(past.value, trains),
        }
    }
}

/// Returns a tensor from which a graph begins.
fn leaf<const D: usize>(x: Tensor<D>, has_gradient: bool) -> Tensor<D> {
    x.detach().set_require_grad(has_gradient)
}

/// Returns the same values behind [`DEPTH`] operations.
fn deep(x: &Tensor<3>) -> Tensor<3> {
    (0..DEPTH).fold(x.clone(), |x, _| {
        let shape = x.dims();
        x.reshape(shape)
    })
}
