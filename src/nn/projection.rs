use burn::{
    module::{Initializer, Module, ModuleDisplay, Param},
    nn::{Linear, LinearConfig, RmsNorm},
    tensor::{Device, Tensor},
};

use crate::{functions::rms_norm, quant::QatScheme};

/// A linear map `[.., d_input] -> [.., d_output]` inside a BitNet block.
pub trait Projection: Module + ModuleDisplay + 'static {
    /// Applies the map.
    ///
    /// # Shapes
    ///
    /// - x: `[.., d_input]`
    /// - output: `[.., d_output]`
    ///
    /// # Panics
    ///
    /// If the last dimension of `x` is not `d_input`.
    #[track_caller]
    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D>;

    /// What it keeps from its forward pass for the gradients, for a plan of the memory.
    fn saved(&self) -> SavedTensors {
        SavedTensors {
            input: true,
            input_copy: 0,
            weight_copy: false,
        }
    }
}

/// What a [`Projection`] keeps in memory for its gradients, beyond its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedTensors {
    /// If it keeps its input as it is; projections of the same input share it.
    pub input: bool,
    /// Bytes of a copy of each value of the input, which is its own.
    pub input_copy: usize,
    /// If it keeps a copy of its weight in `f32`.
    pub weight_copy: bool,
}

/// Bytes that projections of the same input of so many values keep.
pub(super) fn saved_bytes<P: Projection>(projections: &[&P], values: usize) -> usize {
    let saved: Vec<SavedTensors> = projections.iter().map(|p| p.saved()).collect();
    let shared = if saved.iter().any(|s| s.input) {
        4 * values
    } else {
        0
    };
    let own = saved.iter().zip(projections).map(|(saved, projection)| {
        let weight = if saved.weight_copy {
            4 * Module::num_params(*projection)
        } else {
            0
        };
        saved.input_copy * values + weight
    });
    shared + own.sum::<usize>()
}

/// What [`RmsNorm::forward`] computes, in one operation.
pub(super) fn normalize<const D: usize>(norm: &RmsNorm, x: Tensor<D>) -> Tensor<D> {
    rms_norm(x, norm.gamma.val(), norm.epsilon)
}

/// Bytes that a norm of so many values keeps: its input.
pub(super) fn norm_saved_bytes(values: usize) -> usize {
    4 * values
}

/// A [`Projection`] that can be initialised for training.
pub trait TrainableProjection: Projection {
    /// A projection `d_input -> d_output`; `scheme` says how it is quantised, if it is. A bias begins with
    /// zeros.
    fn init(
        size: [usize; 2],
        bias: bool,
        initializer: &Initializer,
        scheme: &QatScheme,
        device: &Device,
    ) -> Self;
}

impl Projection for Linear {
    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        by_tokens(x, |x| Linear::forward(self, x))
    }
}

/// Applies a linear map to `[.., d_input]` as `[tokens, d_input]`. With a batch, Burn computes the
/// gradient of the weight for each element of it, and then adds them up: so many weights in memory.
pub(super) fn by_tokens<const D: usize>(
    x: Tensor<D>,
    map: impl FnOnce(Tensor<2>) -> Tensor<2>,
) -> Tensor<D> {
    let mut shape = x.dims();
    let tokens = shape[..D - 1].iter().product();
    let y = map(x.reshape([tokens, shape[D - 1]]));
    shape[D - 1] = y.dims()[1];
    y.reshape(shape)
}

impl TrainableProjection for Linear {
    fn init(
        [d_input, d_output]: [usize; 2],
        bias: bool,
        initializer: &Initializer,
        _scheme: &QatScheme,
        device: &Device,
    ) -> Self {
        let mut linear = LinearConfig::new(d_input, d_output)
            .with_bias(false)
            .with_initializer(initializer.clone())
            .init(device);
        linear.bias = bias.then(|| zero_bias(d_output, device));
        linear
    }
}

/// A bias as a projection begins with it.
pub(super) fn zero_bias(d_output: usize, device: &Device) -> Param<Tensor<1>> {
    Initializer::Zeros.init([d_output], device)
}
