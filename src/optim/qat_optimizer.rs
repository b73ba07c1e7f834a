use burn::{
    config::Config,
    module::{Module, ParamGroup},
    optim::{
        LearningRate, ModuleOptimizer, Optimizer, RecordState, StateSink, StateSource, join_path,
    },
    tensor::{DType, Device, Tensor},
};

use super::{
    DecoupledWeightDecay, LatentClipping, LatentQuantizer, OscillationFreezingConfig,
    OscillationMonitor,
    oscillation_state::OscillationState,
    stochastic_rounding::{RoundingState, StochasticRounding},
};
use crate::base::bounds::assert_valid;

/// Configuration of a [`QatOptimizer`]: updates of latent weights in addition to the step of the
/// inner optimizer. None by default.
#[derive(Config, Debug, PartialEq)]
pub struct QatOptimizerConfig {
    /// Quantizer of the weights, used by freezing and by clipping relative to their scale.
    /// [`QatOptimizer::init`] uses the quantizer of each weight instead.
    #[config(default = "LatentQuantizer::new()")]
    pub quantizer: LatentQuantizer,
    /// Bound on the latent weights.
    pub clipping: Option<LatentClipping>,
    /// Tracking and freezing of oscillating weights.
    pub freezing: Option<OscillationFreezingConfig>,
    /// Seed of the [stochastic rounding](crate::functions::stochastic_round) of bf16 parameters,
    /// such as [latent weights](crate::qat::cast_latent_weights), after steps that are computed in
    /// f32. With `None` they step in bf16, where most updates are lost.
    pub stochastic_rounding: Option<u64>,
}

/// Wrapper of a Burn optimizer with the additions that quantization-aware training needs:
///
/// 1. [decoupled weight decay](DecoupledWeightDecay) that can change during training,
/// 2. the step of the inner optimizer,
/// 3. [clipping](LatentClipping) of the latent weights,
/// 4. [freezing](OscillationFreezingConfig) of weights that oscillate,
/// 5. [stochastic rounding](QatOptimizerConfig::stochastic_rounding) of bf16 weights.
///
/// All parts are off by default; the step is then that of the inner optimizer, bit for bit. Parts 3
/// and 4 apply to latent weights alone: [`init`](Self::init) finds those of a module by the
/// quantizers that own them. Step sizes, offsets, biases, norms, embeddings and heads in float are
/// left to the other parts. In groups made by hand, call
/// [`for_latent_weights`](Self::for_latent_weights) on the optimizer of the latent weights.
///
/// Records are those of the inner optimizer plus the state of freezing: a checkpoint can be loaded
/// with and without the parts.
///
/// # Example
///
/// ```
/// use bitnet_burn::{
///     nn::BitLinearConfig,
///     optim::{DecoupledWeightDecay, LatentClipping, QatOptimizerConfig},
/// };
/// use burn::{optim::AdamWConfig, tensor::Device};
///
/// let layer = BitLinearConfig::new(8, 4).init(&Device::default().autodiff());
/// // Weight decay that a schedule can switch off replaces AdamW's own.
/// let adamw = AdamWConfig::new().with_beta_2(0.95).with_weight_decay(0.0);
/// let weight_decay = DecoupledWeightDecay::new(0.1);
/// let optimizer = QatOptimizerConfig::new()
///     .with_clipping(Some(LatentClipping::Scaled(2.0)))
///     .build(adamw.build())
///     .with_weight_decay(&weight_decay)
///     .init(&layer);
/// ```
///
/// # Learning rates of scales
///
/// Trained step sizes and offsets of quantizers get a learning rate of their own by a group of
/// Burn's [`ModuleLrScheduler`](burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler):
///
/// ```
/// use bitnet_burn::{
///     nn::BitLinearConfig,
///     optim::TwoStageLrSchedulerConfig,
///     qat::quantizer_parameters,
///     quant::{BitWidth, QatScheme, WeightQuantizer},
/// };
/// use burn::{lr_scheduler::module_lr_scheduler::ModuleLrScheduler, tensor::Device};
///
/// let scheme = QatScheme::b1_58().with_weight(WeightQuantizer::learned_step(BitWidth::Ternary));
/// let layer = BitLinearConfig::new(8, 4).with_scheme(scheme).init(&Device::default());
/// let schedule = |scale| TwoStageLrSchedulerConfig::new(scale * 1.2e-3, scale * 8e-4, 1000).init();
/// let steps = quantizer_parameters(&layer);
/// let scheduler = ModuleLrScheduler::new(schedule(1.0)).with_group(steps, schedule(0.1));
/// ```
#[derive(Debug, Clone)]
pub struct QatOptimizer<O> {
    inner: O,
    config: QatOptimizerConfig,
    /// `true` if all parameters it receives are latent weights.
    latent: bool,
    weight_decay: Option<DecoupledWeightDecay>,
    monitor: Option<OscillationMonitor>,
    rounding: Option<StochasticRounding>,
}

/// State of a [`QatOptimizer`] for one parameter.
#[derive(Debug, Clone)]
pub struct QatOptimizerState<S, const D: usize> {
    /// State of the inner optimizer.
    pub inner: Option<S>,
    /// State of freezing.
    pub oscillation: Option<OscillationState<D>>,
    /// State of stochastic rounding.
    pub rounding: Option<RoundingState>,
}

impl QatOptimizerConfig {
    /// Creates the optimizer around `inner`, such as `AdamWConfig::new().build()`. With clipping or
    /// freezing, call [`init`](QatOptimizer::init) for a module or
    /// [`for_latent_weights`](QatOptimizer::for_latent_weights) on the result.
    ///
    /// # Panics
    ///
    /// If a bound, a momentum or a threshold is out of range.
    #[track_caller]
    pub fn build<O: Optimizer>(&self, inner: O) -> QatOptimizer<O> {
        if let Some(clipping) = &self.clipping {
            assert_valid(clipping.validate());
        }
        if let Some(freezing) = &self.freezing {
            assert_valid(freezing.validate());
        }
        QatOptimizer {
            inner,
            config: self.clone(),
            latent: false,
            weight_decay: None,
            monitor: None,
            rounding: self.stochastic_rounding.map(StochasticRounding::new),
        }
    }
}

impl<O: Optimizer> QatOptimizer<O> {
    /// Creates the optimizer of a module: clipping and freezing apply to its [latent
    /// weights](crate::qat::latent_weights), each with its own quantizer, and the other parts to
    /// all parameters.
    ///
    /// Latent weights are identified by their paths: `model` must be the module that is passed to
    /// [`ModuleOptimizer::step`], with everything around its layers.
    ///
    /// # Panics
    ///
    /// If there is clipping or freezing, and the model has no latent weight.
    #[track_caller]
    pub fn init<M: Module>(&self, model: &M) -> ModuleOptimizer {
        let mut others = self.clone();
        let groups = LatentQuantizer::of(model);
        assert!(
            !groups.is_empty() || !self.constrains(),
            "clipping and freezing are for latent weights, the model has none: prepare it first"
        );
        (others.config.clipping, others.config.freezing) = (None, None);
        let mut optimizer = ModuleOptimizer::from(others);
        for (quantizer, paths) in groups {
            let mut own = self.clone().for_latent_weights();
            own.config.quantizer = quantizer;
            optimizer = optimizer.with_group(ParamGroup::from_paths(paths), own, None);
        }
        optimizer
    }

    /// Declares that all parameters are latent weights of the
    /// [quantizer](QatOptimizerConfig::quantizer) of the configuration: for the optimizer of a
    /// group such as [`latent_weights`](crate::qat::latent_weights) of a module.
    #[must_use]
    pub fn for_latent_weights(mut self) -> Self {
        self.latent = true;
        self
    }

    /// Sets the decoupled weight decay; `weight_decay` holds its value.
    #[must_use]
    pub fn with_weight_decay(mut self, weight_decay: &DecoupledWeightDecay) -> Self {
        self.weight_decay = Some(weight_decay.clone());
        self
    }

    /// Sets the `monitor` that counts flips, oscillations and frozen weights. Without effect unless
    /// the configuration has `freezing`.
    #[must_use]
    pub fn with_monitor(mut self, monitor: &OscillationMonitor) -> Self {
        self.monitor = Some(monitor.clone());
        self
    }

    /// Returns whether there is clipping or freezing, which are for latent weights.
    fn constrains(&self) -> bool {
        self.config.clipping.is_some() || self.config.freezing.is_some()
    }

    /// Steps a parameter without rounding it.
    fn step_unrounded<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: QatOptimizerState<O::State<D>, D>,
    ) -> (Tensor<D>, QatOptimizerState<O::State<D>, D>) {
        let QatOptimizerConfig {
            quantizer,
            clipping,
            freezing,
            ..
        } = &self.config;
        let before = freezing.as_ref().map(|_| tensor.clone());
        let decayed = match &self.weight_decay {
            Some(weight_decay) => weight_decay.apply(lr, tensor),
            None => tensor,
        };
        let (stepped, inner) = self.inner.step(lr, decayed, grad, state.inner);
        let clipped = match clipping {
            Some(clipping) => clipping.clip(stepped, quantizer),
            None => stepped,
        };
        let (updated, oscillation) = match freezing.as_ref().zip(before) {
            Some((freezing, before)) => {
                let monitor = self.monitor.as_ref();
                let (updated, state) =
                    freezing.step(before, clipped, quantizer, state.oscillation, monitor);
                (updated, Some(state))
            }
            None => (clipped, None),
        };
        let state = QatOptimizerState {
            inner,
            oscillation,
            ..state
        };
        (updated, state)
    }
}

impl<O: Optimizer> Optimizer for QatOptimizer<O> {
    type State<const D: usize> = QatOptimizerState<O::State<D>, D>;

    /// # Panics
    ///
    /// If there is clipping or freezing and the parameter is not declared a latent weight, or if
    /// scales are needed and the granularity of the quantizer does not fit the weight.
    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        assert!(
            self.latent || !self.constrains(),
            "clipping and freezing are for latent weights: make the optimizer by \
             `QatOptimizer::init` for its module, or say by `for_latent_weights` that all of its \
             parameters are"
        );
        let state = state.unwrap_or(QatOptimizerState {
            inner: None,
            oscillation: None,
            rounding: None,
        });
        let rounding = self.rounding.as_ref();
        let Some(rounding) = rounding.filter(|_| StochasticRounding::applies(&tensor)) else {
            let (updated, state) = self.step_unrounded(lr, tensor, grad, state);
            return (updated, Some(state));
        };
        let (tensor, grad) = (tensor.cast(DType::F32), grad.cast(DType::F32));
        let (updated, state) = self.step_unrounded(lr, tensor, grad, state);
        let (rounded, steps) = rounding.round(updated, state.rounding);
        let state = QatOptimizerState {
            rounding: Some(steps),
            ..state
        };
        (rounded, Some(state))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        QatOptimizerState {
            inner: state.inner.map(|inner| O::to_device(inner, device)),
            oscillation: state.oscillation.map(|state| state.to_device(device)),
            rounding: state.rounding,
        }
    }
}

/// Prefix of the state of freezing in the record of a parameter.
const OSCILLATION: &str = "oscillation";

/// Prefix of the state of stochastic rounding.
const ROUNDING: &str = "rounding";

impl<S: RecordState, const D: usize> RecordState for QatOptimizerState<S, D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        // Without a prefix, so that records of the inner optimizer alone are compatible.
        if let Some(inner) = &self.inner {
            inner.state_flatten(prefix, out);
        }
        if let Some(oscillation) = &self.oscillation {
            oscillation.state_flatten(&join_path(prefix, OSCILLATION), out);
        }
        if let Some(rounding) = &self.rounding {
            rounding.state_flatten(&join_path(prefix, ROUNDING), out);
        }
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, device: &Device) -> Option<Self> {
        let oscillation = join_path(prefix, OSCILLATION);
        let state = Self {
            inner: S::state_unflatten(prefix, src, device),
            oscillation: OscillationState::state_unflatten(&oscillation, src, device),
            rounding: RoundingState::state_unflatten(&join_path(prefix, ROUNDING), src, device),
        };
        (state.inner.is_some() || state.oscillation.is_some()).then_some(state)
    }
}
