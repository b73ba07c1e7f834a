use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::{GradientsAccumulator, GradientsParams},
    tensor::Tensor,
};

use crate::base::distinct::visit_distinct;

/// Accumulated gradients of the batches of a step, as their weighted mean: `sum_b(w_b * g_b) /
/// sum_b(w_b)`.
///
/// With the number of tokens as weight, this is the gradient of the mean over all tokens, as of a
/// single batch.
pub(super) struct Accumulation<M> {
    accumulator: GradientsAccumulator<M>,
    /// Weight of the first batch, used as the unit: batches of equal weight are only summed, and
    /// the sum does not grow with the number of tokens.
    unit: f64,
    total: f64,
    batches: usize,
    /// Zero gradients of a batch without weight, for a step that has no others.
    empty: Option<GradientsParams>,
}

impl<M: Module> Accumulation<M> {
    pub fn new() -> Self {
        Self {
            accumulator: GradientsAccumulator::new(),
            unit: 0.0,
            total: 0.0,
            batches: 0,
            empty: None,
        }
    }

    /// Returns the number of batches so far.
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// Adds the gradients of a batch.
    pub fn add(&mut self, model: &M, grads: GradientsParams, weight: f64) {
        self.batches += 1;
        if weight <= 0.0 {
            self.empty = Some(grads);
            return;
        }
        if self.unit == 0.0 {
            self.unit = weight;
        }
        let weight = weight / self.unit;
        self.total += weight;
        self.accumulator
            .accumulate(model, scaled(model, grads, weight));
    }

    /// Returns the mean and its weight, and resets the accumulation.
    pub fn take(&mut self, model: &M) -> (GradientsParams, f64) {
        let mut done = std::mem::replace(self, Self::new());
        let mean = match done.unit == 0.0 {
            true => done.empty.unwrap_or_default(),
            false => scaled(model, done.accumulator.grads(), 1.0 / done.total),
        };
        (mean, done.unit * done.total)
    }
}

/// Multiplies gradients by a factor.
fn scaled<M: Module>(model: &M, grads: GradientsParams, factor: f64) -> GradientsParams {
    if factor == 1.0 {
        return grads;
    }
    let mut scale = Scale { grads, factor };
    visit_distinct(model, &mut scale);
    scale.grads
}

struct Scale {
    grads: GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            self.grads.register(param.id, grad.mul_scalar(self.factor));
        }
    }
}
