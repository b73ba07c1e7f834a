use burn::{
    config::Config,
    optim::{AdamWState, AdaptiveMomentumState, LearningRate, ModuleOptimizer, Optimizer},
    tensor::{Device, Tensor},
};

use crate::{base::bounds::Bounds, functions::fused_adamw, ops::FusedAdamWStep};

/// Configuration of [`FusedAdamW`]; the defaults are those of PyTorch.
#[derive(Config, Debug, PartialEq)]
pub struct FusedAdamWConfig {
    /// Decay rate of the first moment.
    #[config(default = 0.9)]
    pub beta_1: f32,
    /// Decay rate of the second moment.
    #[config(default = 0.999)]
    pub beta_2: f32,
    /// Value added to the root of the second moment.
    #[config(default = 1e-8)]
    pub epsilon: f32,
    /// Decoupled weight decay.
    #[config(default = 1e-2)]
    pub weight_decay: f32,
}

/// AdamW as one operation: [`AdamW`](burn::optim::AdamW) of Burn in a single pass over parameter, gradient and states
/// on Flex, in place, where Burn's takes about fifteen and holds three more tensors of the size of the parameter.
///
/// Steps, states and records are those of Burn's optimizer, bit for bit: a training can go on with the other one. Tensors
/// that are not f32, and other backends, take Burn's operations (which [fusion](https://burn.dev) combines on GPUs).
///
/// Source: [Decoupled Weight Decay Regularization](https://arxiv.org/abs/1711.05101).
///
/// # Example
///
/// ```
/// use bitnet_burn::optim::FusedAdamWConfig;
/// use burn::{
///     nn::LinearConfig,
///     optim::GradientsParams,
///     tensor::{Device, Tensor},
/// };
///
/// let device = Device::default().autodiff();
/// let linear = LinearConfig::new(4, 2).init(&device);
/// let mut optimizer = FusedAdamWConfig::new().init();
/// let loss = linear.forward(Tensor::<2>::ones([3, 4], &device)).sum();
/// let grads = GradientsParams::from_grads(loss.backward(), &linear);
/// let linear = optimizer.step(1e-3, linear, grads);
/// ```
#[derive(Debug, Clone)]
pub struct FusedAdamW {
    config: FusedAdamWConfig,
}

impl FusedAdamWConfig {
    /// Creates the optimizer, for a [`ModuleOptimizer`], one of its groups, or a
    /// [`QatOptimizer`](super::QatOptimizer).
    ///
    /// # Panics
    ///
    /// If a beta is not in `0..1`, or epsilon or the weight decay is negative or not finite.
    #[track_caller]
    pub fn build(&self) -> FusedAdamW {
        Bounds::BELOW_1.assert("beta_1", self.beta_1);
        Bounds::BELOW_1.assert("beta_2", self.beta_2);
        Bounds::NOT_NEGATIVE.assert("epsilon", self.epsilon);
        Bounds::NOT_NEGATIVE.assert("weight_decay", self.weight_decay);
        FusedAdamW {
            config: self.clone(),
        }
    }

    /// Creates the optimizer of all parameters of a module.
    pub fn init(&self) -> ModuleOptimizer {
        self.build().into()
    }

    /// Returns the constants of step `time`, counted from 1, rounded as Burn rounds them.
    fn step(&self, lr: LearningRate, time: usize) -> FusedAdamWStep {
        let power = time as i32;
        FusedAdamWStep {
            is_first: time == 1,
            beta_1: self.beta_1,
            beta_2: self.beta_2,
            bias_correction_1: 1.0 - self.beta_1.powi(power),
            bias_correction_2: 1.0 - self.beta_2.powi(power),
            decay: (1.0 - lr * f64::from(self.weight_decay)) as f32,
            lr: lr as f32,
            epsilon: self.epsilon,
        }
    }
}

impl Optimizer for FusedAdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let (time, moments) = match state {
            Some(AdamWState { momentum }) => {
                (momentum.time + 1, [momentum.moment_1, momentum.moment_2])
            }
            None => {
                let zeros = || Tensor::zeros(grad.dims(), (&grad.device(), grad.dtype()));
                (1, [zeros(), zeros()])
            }
        };
        let step = self.config.step(lr, time);
        let (tensor, [moment_1, moment_2]) = fused_adamw(tensor, grad, moments, step);
        let momentum = AdaptiveMomentumState::new(time, moment_1, moment_2);
        (tensor, Some(AdamWState::new(momentum)))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        AdamWState::new(state.momentum.to_device(device))
    }
}
