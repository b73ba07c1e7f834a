//! Training steps of language models with and without gradient checkpointing.

use bitnet_burn::{
    nn::{BitNetLm, BitNetLmConfig, Projection, TrainableProjection},
    quant::WeightQuantizer,
    text::dataset::{Sequence, TokenBatch},
    train::LanguageModel,
};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{DType, Device, Tensor},
    train::{TrainOutput, TrainStep},
};

use super::values::*;

/// Three blocks with grouped heads.
pub fn config() -> BitNetLmConfig {
    BitNetLmConfig::new(20, 16, 3, 4, 24)
        .with_n_kv_heads(Some(2))
        .with_max_positions(16)
}

/// A model with norms and biases that are not those of the start, except for trained scales.
pub fn model<P: TrainableProjection>(config: &BitNetLmConfig) -> BitNetLm<P> {
    let lm: BitNetLm<P> = config.init(&Device::default().autodiff());
    match config.scheme.weight {
        WeightQuantizer::LearnedStep { .. } => lm,
        _ => lm.map(&mut Drawn::new(60, 0.3)),
    }
}

/// Two sequences, the first of which has tokens that do not count.
pub fn batch() -> TokenBatch {
    let tokens = |seed: u32| {
        (0..9)
            .map(|i| (seed * i * i + i) % 19)
            .collect::<Vec<u32>>()
    };
    let masked = Sequence::new(tokens(3), (0..9).map(|i| i > 3).collect());
    let whole = Sequence::unmasked(tokens(5));
    TokenBatch::new(&[masked, whole], &Device::default())
}

/// Draws the parameters that train: those of a new adapter are zero in part.
pub struct DrawTrained(pub u64);

impl ModuleMapper for DrawTrained {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !param.is_require_grad() {
            return param;
        }
        self.0 += 1;
        param.map(|old| {
            let values = normal(old.shape().num_elements(), self.0);
            tensor(&values, old.dims(), DType::F32, &old.device()).require_grad()
        })
    }
}

/// Loss and gradients of a step, in bits; `None` for a parameter without a gradient.
#[derive(Debug, PartialEq)]
pub struct Step {
    pub loss: u32,
    pub grads: Vec<Option<Vec<u32>>>,
}

impl Step {
    pub fn of<P: Projection>(model: &LanguageModel<P>) -> Self {
        let TrainOutput { grads, item } = TrainStep::step(model, batch());
        let found = Vec::new();
        let mut gradients = Gradients { grads, found };
        model.visit(&mut gradients);
        Self {
            loss: bits(item.mean)[0],
            grads: gradients.found,
        }
    }
}

pub fn bits<const D: usize>(tensor: Tensor<D>) -> Vec<u32> {
    floats(tensor).into_iter().map(f32::to_bits).collect()
}

struct Gradients {
    grads: GradientsParams,
    found: Vec<Option<Vec<u32>>>,
}

impl ModuleVisitor for Gradients {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.push(self.grads.get::<D>(param.id).map(bits));
    }
}

/// Compares the steps of a model; returns the number of its gradients.
pub fn check_steps<P: Projection>(what: &str, lm: &BitNetLm<P>) -> usize {
    let plain = LanguageModel::new(lm.clone());
    let expected = Step::of(&plain);
    let found = Step::of(&plain.with_gradient_checkpointing(true));
    assert_eq!(found.loss, expected.loss, "{what}: loss");
    assert_eq!(
        found.grads.len(),
        expected.grads.len(),
        "{what}: parameters"
    );
    for (i, (found, expected)) in found.grads.iter().zip(&expected.grads).enumerate() {
        assert_eq!(found, expected, "{what}: gradient of parameter {i}");
    }
    let count = expected.grads.iter().flatten().count();
    assert!(count > 0, "{what}: no gradients");
    count
}
