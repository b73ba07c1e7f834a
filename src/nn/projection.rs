use burn::{
    module::{Initializer, Module, ModuleDisplay, Param},
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor, module::linear},
};

use crate::{functions::frozen_linear, quant::QatScheme};

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

    /// Returns the tensors saved for backward by its forward pass, for a memory plan.
    fn saved(&self) -> SavedTensors {
        SavedTensors::of_input(SavedInput::Kept)
    }

    /// Returns whether its forward pass draws random numbers of the device in training, as a dropout does. A step with
    /// gradient checkpointing draws them twice, each time the same ones.
    fn draws_random_numbers(&self) -> bool {
        false
    }
}

/// Memory that a [`Projection`] saves for backward, in addition to its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedTensors {
    /// Its input, unchanged; projections of the same input share it.
    pub input: SavedInput,
    /// Bytes per input value of a copy of its own.
    pub input_copy: usize,
    /// `true` if it saves a copy of its weight in `f32`.
    pub weight_copy: bool,
}

impl SavedTensors {
    /// Nothing but the input, or not even that.
    pub(crate) fn of_input(input: SavedInput) -> Self {
        Self {
            input,
            input_copy: 0,
            weight_copy: false,
        }
    }
}

/// How backward gets the input of a [`Projection`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SavedInput {
    /// It needs none.
    Unused,
    /// It is computed again if it is the output of a norm or a gated activation, and saved otherwise.
    Recomputed,
    /// It is saved.
    Kept,
}

/// A [`Projection`] that can be initialized for training.
pub trait TrainableProjection: Projection {
    /// Initializes a projection `d_input -> d_output`, quantized by `scheme` if it is a quantized one. A bias
    /// starts at zero.
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
        linear_map(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }

    fn saved(&self) -> SavedTensors {
        SavedTensors::of_input(match self.weight.val().is_require_grad() {
            true => SavedInput::Kept,
            false => SavedInput::Unused,
        })
    }
}

/// Computes `X W + b` in the type of `x`.
pub(crate) fn linear_map<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    // Under autodiff a weight may be frozen, for which Burn would keep `x` all the same.
    if x.is_autodiff() || x.dtype() != weight.dtype() {
        return frozen_linear(x, weight, bias);
    }
    by_tokens(x, |x| linear(x, weight, bias))
}

/// Applies a linear map to `[.., d_input]` as `[tokens, d_input]`. With a batch dimension, Burn computes the
/// gradient of the weight for each of its elements before summing them, and holds them all in memory.
pub(crate) fn by_tokens<const D: usize>(
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

/// Returns the initial bias of a projection.
pub(super) fn zero_bias(d_output: usize, device: &Device) -> Param<Tensor<1>> {
    Initializer::Zeros.init([d_output], device)
}
