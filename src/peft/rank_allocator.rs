use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, Param, ParamGroup, ParamId},
    optim::GradientsParams,
    tensor::{Bool, DType, Tensor, TensorReadError},
};

use super::{
    AdaLoraConfig, PeftError, RankSchedule, RankStep,
    importance::DirectionImportance,
    kept_directions,
    orthogonality::Orthogonality,
    trained_directions::{Directions, Factor, trained_directions},
};

/// Allocates the directions of the AdaLoRA adapters that train in a model to its modules, by their importance.
///
/// In each step of a training, from 0:
///
/// 1. [`regularize`](Self::regularize) adds the gradient of the orthogonality of `A` and `B`, before gradients are clipped,
/// 2. [`gradients`](Self::gradients) keeps those that the optimizer gets,
/// 3. after the step of the optimizer [`step`](Self::step) measures importance, with the new values of the parameters, and
///    [`prune`](Self::prune) sets pruned directions to zero.
///
/// The callback `train::callback::AdaLoraAllocation` does so in a `Trainer`.
///
/// Source: [AdaLoRA](https://arxiv.org/abs/2303.10512), algorithm 1, as peft's `RankAllocator`.
///
/// # Example
///
/// ```
/// use bitnet_burn::{
///     nn::{BitLinear, BitNetLmConfig},
///     peft::{AdaLoraConfig, RankAllocator, TargetModules},
/// };
/// use burn::{
///     module::Module,
///     optim::{AdamWConfig, GradientsParams},
///     tensor::{Device, Int, Tensor},
/// };
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let device = Device::default().autodiff();
/// let lm = BitNetLmConfig::new(16, 32, 1, 4, 48).init::<BitLinear>(&device);
/// let config = AdaLoraConfig::new(4).with_ranks(4, 2).with_targets(TargetModules::AllLinear);
/// let (mut lm, _) = lm.with_adapter("default", &config)?;
/// let mut allocator = RankAllocator::new(&config, &lm)?;
/// let mut optimizer = AdamWConfig::new().init();
/// let tokens = Tensor::<2, Int>::from_ints([[1, 2, 3, 4]], &device);
/// for step in 0..4 {
///     let loss = lm.forward(tokens.clone()).square().mean();
///     let mut grads = GradientsParams::from_grads(loss.backward(), &lm);
///     allocator.regularize(&lm, &mut grads, 1.0);
///     let gradients = allocator.gradients(&grads);
///     lm = optimizer.step(1e-3, lm, grads);
///     allocator.step(&lm, step, Some(gradients))?;
///     lm = allocator.prune(lm, step);
/// }
/// assert_eq!(allocator.ranks().values().sum::<usize>(), 7 * 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RankAllocator {
    pub(super) modules: BTreeMap<String, AllocatedModule>,
    schedule: RankSchedule,
    betas: [f64; 2],
    orth_reg_weight: f64,
}

/// An adapter whose directions are allocated.
#[derive(Debug, Clone)]
pub(super) struct AllocatedModule {
    a: ParamId,
    e: ParamId,
    b: ParamId,
    /// Which directions are kept.
    pub(super) kept: Vec<bool>,
    /// Importance since the first step; `None` before it, and after the last pruning.
    pub(super) importance: Option<DirectionImportance>,
}

/// Gradients of the factors in a step.
#[derive(Debug, Clone)]
pub struct DirectionGradients(BTreeMap<String, FactorGradients>);

/// Gradients of the factors of an adapter; a factor that the loss does not depend on has none.
#[derive(Debug, Clone)]
struct FactorGradients {
    a: Option<Tensor<2>>,
    e: Option<Tensor<1>>,
    b: Option<Tensor<2>>,
}

impl RankAllocator {
    /// Creates the allocator of a model in which an AdaLoRA adapter trains.
    ///
    /// # Errors
    ///
    /// If a value of the configuration is out of its bounds, or no AdaLoRA adapter trains.
    pub fn new<M: Module>(config: &AdaLoraConfig, model: &M) -> Result<Self, PeftError> {
        config.validate()?;
        let modules: BTreeMap<String, AllocatedModule> = trained_directions(model)
            .into_iter()
            .map(|(path, Directions { a, e, b })| {
                let module = AllocatedModule {
                    a: a.id,
                    e: e.id,
                    b: b.id,
                    kept: vec![true; e.value.dims()[0]],
                    importance: None,
                };
                (path, module)
            })
            .collect();
        if modules.is_empty() {
            return Err(PeftError::NoDirections);
        }
        let initial = modules.values().map(|module| module.kept.len()).sum();
        Ok(Self {
            schedule: RankSchedule::new(config, initial, modules.len()),
            betas: [config.beta1, config.beta2],
            orth_reg_weight: config.orth_reg_weight,
            modules,
        })
    }

    /// Returns the schedule of the budget.
    pub fn schedule(&self) -> &RankSchedule {
        &self.schedule
    }

    /// Returns which directions of each adapter are kept, by its path in the model.
    pub fn kept(&self) -> impl Iterator<Item = (&str, &[bool])> {
        let modules = self.modules.iter();
        modules.map(|(path, module)| (path.as_str(), &module.kept[..]))
    }

    /// Returns the number of kept directions of each adapter, by its path in the model.
    pub fn ranks(&self) -> BTreeMap<&str, usize> {
        let rank = |kept: &[bool]| kept.iter().filter(|&&kept| kept).count();
        self.kept().map(|(path, kept)| (path, rank(kept))).collect()
    }

    /// Adds the gradient of the orthogonality, times `scale`, to that of the factors: 1, or the scale of the loss with
    /// [loss scaling](crate::optim::LossScaler).
    ///
    /// Returns the orthogonality, which is part of the loss, of shape `[1]`: `orth_reg_weight` times the mean of
    /// `|A^T A - I|` and `|B B^T - I|` over all adapters. (The paper has the sum of their squares.)
    pub fn regularize<M: Module>(
        &self,
        model: &M,
        grads: &mut GradientsParams,
        scale: f64,
    ) -> Option<Tensor<1>> {
        if self.orth_reg_weight == 0.0 {
            return None;
        }
        let weight = self.orth_reg_weight / (2 * self.modules.len()) as f64;
        let mut distances = Vec::new();
        for (path, Directions { a, b, .. }) in trained_directions(model) {
            if self.modules.contains_key(&path) {
                let f32 = |factor: &Factor<2>| factor.value.clone().cast(DType::F32);
                let (of_a, of_b) = (
                    Orthogonality::of_columns(f32(&a)),
                    Orthogonality::of_rows(f32(&b)),
                );
                add(grads, &a, of_a.gradient * (weight * scale));
                add(grads, &b, of_b.gradient * (weight * scale));
                distances.extend([of_a.distance, of_b.distance]);
            }
        }
        Some(Tensor::cat(distances, 0).sum() * weight)
    }

    /// Returns the gradients of the factors.
    pub fn gradients(&self, grads: &GradientsParams) -> DirectionGradients {
        let modules = self.modules.iter().map(|(path, module)| {
            let grads = FactorGradients {
                a: grads.get(module.a),
                e: grads.get(module.e),
                b: grads.get(module.b),
            };
            (path.clone(), grads)
        });
        DirectionGradients(modules.collect())
    }

    /// Measures the importance of a step, from 0, in which the optimizer got gradients, and decides which directions are
    /// kept if the step is one to prune. Without gradients, as of a step that was skipped, none is measured.
    ///
    /// # Errors
    ///
    /// If the scores cannot be read back from the device.
    pub fn step<M: Module>(
        &mut self,
        model: &M,
        step: usize,
        grads: Option<DirectionGradients>,
    ) -> Result<RankStep, TensorReadError> {
        let stage = self.schedule.step(step);
        if matches!(stage, RankStep::Measure | RankStep::Prune)
            && let Some(grads) = grads
        {
            self.measure(model, grads);
        }
        if matches!(stage, RankStep::Prune | RankStep::Freeze) {
            self.allocate(self.schedule.budget(step))?;
        }
        if stage == RankStep::Freeze {
            let modules = self.modules.values_mut();
            modules.for_each(|module| module.importance = None);
        }
        Ok(stage)
    }

    /// Sets the directions that are pruned in a step to zero, in the values `E` of a model.
    pub fn prune<M: Module>(&self, model: M, step: usize) -> M {
        match self.schedule.step(step).prunes() {
            true => model.map(&mut Prune(self)),
            false => model,
        }
    }

    /// Returns the parameters that [`prune`](Self::prune) changes.
    pub fn pruned_parameters(&self) -> ParamGroup {
        let ids = self.modules.values().map(|module| module.e);
        ParamGroup::from_ids(ids.collect())
    }

    fn measure<M: Module>(&mut self, model: &M, mut grads: DirectionGradients) {
        for (path, Directions { a, e, b }) in trained_directions(model) {
            let (Some(module), Some(grads)) = (self.modules.get_mut(&path), grads.0.remove(&path))
            else {
                continue;
            };
            let (dims, device) = ((a.value.dims(), b.value.dims()), a.value.device());
            let importance = module
                .importance
                .get_or_insert_with(|| DirectionImportance::zeros(dims.0, dims.1, &device));
            importance.a.update(a.value, grads.a, self.betas);
            importance.e.update(e.value, grads.e, self.betas);
            importance.b.update(b.value, grads.b, self.betas);
        }
    }

    /// Keeps as many directions as the budget has, if their importance is known.
    fn allocate(&mut self, budget: usize) -> Result<(), TensorReadError> {
        let importance = self.modules.values().map(|m| m.importance.as_ref());
        let Some(importance) = importance.collect::<Option<Vec<_>>>() else {
            return Ok(());
        };
        let scores = importance.into_iter().map(DirectionImportance::scores);
        let all: Vec<f32> = Tensor::cat(scores.collect(), 0).try_into_vec_as()?;
        let mut rest = &all[..];
        let of_modules = self.modules.values().map(|module| {
            let (scores, left) = rest.split_at(module.kept.len());
            rest = left;
            scores.to_vec()
        });
        let kept = kept_directions(&of_modules.collect::<Vec<_>>(), budget);
        for (module, kept) in self.modules.values_mut().zip(kept) {
            module.kept = kept;
        }
        Ok(())
    }
}

/// Adds to the gradient of a factor, in the type of the factor.
fn add(grads: &mut GradientsParams, factor: &Factor<2>, gradient: Tensor<2>) {
    let gradient = gradient.cast(factor.value.dtype());
    let sum = match grads.remove::<2>(factor.id) {
        Some(grad) => grad + gradient,
        None => gradient,
    };
    grads.register(factor.id, sum);
}

/// Sets the values of pruned directions to zero.
struct Prune<'a>(&'a RankAllocator);

impl ModuleMapper for Prune<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let mut modules = self.0.modules.values();
        let Some(module) = modules.find(|module| module.e == param.id) else {
            return param;
        };
        param.map(|e| {
            let trains = e.is_require_grad();
            let pruned: Vec<bool> = module.kept.iter().map(|kept| !kept).collect();
            let pruned = Tensor::<1, Bool>::from_data(&pruned[..], &e.device().inner());
            let value = e.clone().without_autodiff();
            let value = value.mask_fill(pruned.reshape(e.dims()), 0.0);
            let value = if e.is_autodiff() {
                value.autodiff()
            } else {
                value
            };
            value.set_require_grad(trains)
        })
    }
}
