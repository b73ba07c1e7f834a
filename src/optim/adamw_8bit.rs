use burn::{
    config::Config,
    optim::{LearningRate, ModuleOptimizer, Optimizer, RecordState, StateSink, StateSource},
    tensor::{DType, Device, Tensor},
};

use crate::{
    base::bounds::Bounds,
    functions::{BlockwiseMoment, adamw_8bit},
    ops::{AdamWStep, BLOCK},
};

/// Configuration of [`AdamW8bit`]; the defaults are those of bitsandbytes.
#[derive(Config, Debug, PartialEq)]
pub struct AdamW8bitConfig {
    /// Decay rate of the first moment.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// Decay rate of the second moment.
    #[config(default = 0.999)]
    pub beta_2: f64,
    /// Value added to the root of the second moment.
    #[config(default = 1e-8)]
    pub epsilon: f64,
    /// Decoupled weight decay.
    #[config(default = 1e-2)]
    pub weight_decay: f64,
    /// Tensors with fewer values than this keep their states in f32.
    #[config(default = 4096)]
    pub min_8bit_size: usize,
}

/// AdamW with 8-bit optimizer states: bitsandbytes' `AdamW8bit`.
///
/// Both moments are quantized in blocks of 256 values, each with its absolute maximum: 2.03 bytes
/// per parameter instead of 8. Each step dequantizes them to f32, updates the parameter, and rounds
/// them again to the nearest value of bitsandbytes' [dynamic maps](crate::functions::DynamicMap). The
/// arithmetic is that of its CUDA kernel, up to the rounding of f32 (its CPU kernel rounds to 16
/// bits before).
///
/// Embeddings train better with states in f32; give them another optimizer in a group. Wrap this
/// one in a [`QatOptimizer`](super::QatOptimizer) for scheduled weight decay, clipping of latent
/// weights and the rest.
///
/// Source: [8-bit Optimizers via Block-wise Quantization](https://arxiv.org/abs/2110.02861).
///
/// # Example
///
/// ```
/// use bitnet_burn::optim::AdamW8bitConfig;
/// use burn::{
///     module::ParamGroup,
///     optim::{AdamWConfig, ModuleOptimizer},
/// };
///
/// let adamw = AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.01);
/// let optimizer = ModuleOptimizer::from(AdamW8bitConfig::new().build()).with_group(
///     ParamGroup::from_predicate("embed_tokens"),
///     adamw.build(),
///     None,
/// );
/// ```
#[derive(Debug, Clone)]
pub struct AdamW8bit {
    config: AdamW8bitConfig,
}

/// State of an [`AdamW8bit`] for one parameter.
#[derive(Debug, Clone)]
pub struct AdamW8bitState<const D: usize> {
    /// Number of steps taken.
    pub time: usize,
    /// The moments.
    pub moments: AdamW8bitMoments<D>,
}

/// First and second moment of the gradients of a parameter.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "one for each parameter")]
pub enum AdamW8bitMoments<const D: usize> {
    /// States of a tensor too small to quantize.
    F32([Tensor<D>; 2]),
    /// States in blocks, the first moment signed and the second unsigned.
    Blockwise([BlockwiseMoment; 2]),
}

impl AdamW8bitConfig {
    /// Creates the optimizer, for a [`ModuleOptimizer`], one of its groups, or a
    /// [`QatOptimizer`](super::QatOptimizer).
    ///
    /// # Panics
    ///
    /// If a beta is not in `0..1`, or epsilon or the weight decay is negative or not finite.
    #[track_caller]
    pub fn build(&self) -> AdamW8bit {
        Bounds::BELOW_1.assert("beta_1", self.beta_1);
        Bounds::BELOW_1.assert("beta_2", self.beta_2);
        Bounds::NOT_NEGATIVE.assert("epsilon", self.epsilon);
        Bounds::NOT_NEGATIVE.assert("weight_decay", self.weight_decay);
        AdamW8bit {
            config: self.clone(),
        }
    }

    /// Creates the optimizer of all parameters of a module.
    pub fn init(&self) -> ModuleOptimizer {
        self.build().into()
    }

    /// Returns the constants of step `time`, counted from 1.
    fn step(&self, lr: LearningRate, time: usize) -> AdamWStep {
        // Beyond 2^31 steps both powers are zero.
        let time = i32::try_from(time).unwrap_or(i32::MAX);
        let correction_1 = 1.0 - self.beta_1.powi(time);
        AdamWStep {
            beta_1: self.beta_1 as f32,
            one_minus_beta_1: (1.0 - self.beta_1) as f32,
            beta_2: self.beta_2 as f32,
            one_minus_beta_2: (1.0 - self.beta_2) as f32,
            decay: (1.0 - lr * self.weight_decay) as f32,
            step_size: (lr / correction_1) as f32,
            bias_correction_2: (1.0 - self.beta_2.powi(time)).sqrt() as f32,
            epsilon: self.epsilon as f32,
        }
    }
}

impl<const D: usize> AdamW8bitState<D> {
    fn new(param: &Tensor<D>, min_8bit_size: usize) -> Self {
        let n = param.shape().num_elements();
        let device = param.device();
        let moments = match n < min_8bit_size {
            true => {
                let zeros = || Tensor::zeros(param.dims(), (&device, DType::F32));
                AdamW8bitMoments::F32([zeros(), zeros()])
            }
            false => AdamW8bitMoments::Blockwise([(); 2].map(|()| BlockwiseMoment {
                codes: Tensor::zeros([n.div_ceil(4)], (&device, DType::U32)),
                absmax: Tensor::zeros([n.div_ceil(BLOCK)], (&device, DType::F32)),
            })),
        };
        Self { time: 0, moments }
    }
}

/// Updates a parameter with states in f32, in the order of bitsandbytes' operations.
fn adamw_f32<const D: usize>(
    param: Tensor<D>,
    grad: Tensor<D>,
    [first, second]: [Tensor<D>; 2],
    step: AdamWStep,
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let dtype = param.dtype();
    let grad = grad.cast(DType::F32);
    let first = first.mul_scalar(step.beta_1) + grad.clone().mul_scalar(step.one_minus_beta_1);
    let square = grad.clone().mul_scalar(step.one_minus_beta_2) * grad;
    let second = second.mul_scalar(step.beta_2) + square;
    let denominator = second
        .clone()
        .sqrt()
        .add_scalar(step.epsilon * step.bias_correction_2);
    let update = first.clone() / denominator;
    let decayed = param.cast(DType::F32).mul_scalar(step.decay);
    let param = decayed - update.mul_scalar(step.step_size * step.bias_correction_2);
    (param.cast(dtype), [first, second])
}

impl Optimizer for AdamW8bit {
    type State<const D: usize> = AdamW8bitState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let state =
            state.unwrap_or_else(|| AdamW8bitState::new(&tensor, self.config.min_8bit_size));
        let time = state.time + 1;
        let step = self.config.step(lr, time);
        let (tensor, moments) = match state.moments {
            AdamW8bitMoments::F32(moments) => {
                let (tensor, moments) = adamw_f32(tensor, grad, moments, step);
                (tensor, AdamW8bitMoments::F32(moments))
            }
            AdamW8bitMoments::Blockwise(moments) => {
                let (tensor, moments) = adamw_8bit(tensor, grad, moments, step);
                (tensor, AdamW8bitMoments::Blockwise(moments))
            }
        };
        (tensor, Some(AdamW8bitState { time, moments }))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        let moments = match state.moments {
            AdamW8bitMoments::F32(moments) => {
                AdamW8bitMoments::F32(moments.map(|moment| moment.to_device(device)))
            }
            AdamW8bitMoments::Blockwise(moments) => {
                AdamW8bitMoments::Blockwise(moments.map(|moment| BlockwiseMoment {
                    codes: moment.codes.to_device(device),
                    absmax: moment.absmax.to_device(device),
                }))
            }
        };
        AdamW8bitState { moments, ..state }
    }
}

/// Names of the moments in a record; codes and block maxima add a suffix.
const MOMENTS: [&str; 2] = ["moment_1", "moment_2"];

fn codes(moment: &str) -> String {
    format!("{moment}_codes")
}

fn absmax(moment: &str) -> String {
    format!("{moment}_absmax")
}

impl<const D: usize> RecordState for AdamW8bitState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_scalar(prefix, "time", self.time.into());
        match &self.moments {
            AdamW8bitMoments::F32(moments) => {
                for (name, moment) in MOMENTS.iter().zip(moments) {
                    out.push_tensor(prefix, name, moment.to_data());
                }
            }
            AdamW8bitMoments::Blockwise(moments) => {
                for (name, moment) in MOMENTS.iter().zip(moments) {
                    out.push_tensor(prefix, &codes(name), moment.codes.to_data());
                    out.push_tensor(prefix, &absmax(name), moment.absmax.to_data());
                }
            }
        }
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, device: &Device) -> Option<Self> {
        let time = src.take_scalar(prefix, "time")?.try_into().ok()?;
        let [first, second] = MOMENTS;
        let mut f32_moment = |name| {
            let data = src.take_tensor(prefix, name)?;
            Some(Tensor::from_data(data, (device, DType::F32)))
        };
        if let Some(moment) = f32_moment(first) {
            let moments = [moment, f32_moment(second)?];
            let moments = AdamW8bitMoments::F32(moments);
            return Some(Self { time, moments });
        }
        let mut moment = |name| {
            let codes = src.take_tensor(prefix, &codes(name))?;
            let absmax = src.take_tensor(prefix, &absmax(name))?;
            Some(BlockwiseMoment {
                codes: Tensor::from_data(codes, (device, DType::U32)),
                absmax: Tensor::from_data(absmax, (device, DType::F32)),
            })
        };
        let moments = AdamW8bitMoments::Blockwise([moment(first)?, moment(second)?]);
        Some(Self { time, moments })
    }
}
