use burn::{
    module::{Content, DisplaySettings, Module, ModuleDisplay, Param},
    nn::Linear,
    tensor::{DType, Tensor, assert_shape},
};

use super::{Projection, SavedInput, SavedTensors, projection::linear_map};
use crate::{
    qat::{FakeQuant, PackedFourBit, PackedParameter},
    quant::FourBitConfig,
};

/// Linear layer with a frozen weight of 4 bits, the base of QLoRA: `Y = X dequant(W) + b`.
///
/// Codes and absolute maxima are those of bitsandbytes' `Linear4bit`, bit for bit. The weight has no gradient
/// and saves nothing for backward; under autodiff the input has one, and the bias if it is trained. There is
/// never a matrix of all dequantized values: see [`four_bit_linear`](crate::functions::four_bit_linear).
///
/// Source: [QLoRA](https://arxiv.org/abs/2305.14314).
///
/// # Example
///
/// ```
/// use bitnet_burn::{nn::Linear4bit, quant::FourBitConfig};
/// use burn::{nn::LinearConfig, tensor::{Device, Distribution, Tensor}};
///
/// let device = Device::default();
/// let linear = LinearConfig::new(256, 128).init(&device);
/// let layer = Linear4bit::from_linear(&linear, &FourBitConfig::default());
/// let x = Tensor::<3>::random([2, 5, 256], Distribution::Default, &device);
/// assert_eq!(layer.forward(x).dims(), [2, 5, 128]);
/// assert!(layer.weight.bits_per_weight() < 4.2);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Linear4bit {
    /// Weight, `[d_output, d_input]`; without rows in a layer that is not quantized.
    pub weight: PackedFourBit,
    /// Weight of shape `[d_input, d_output]` of a layer that is not quantized, in place of the one of 4 bits.
    pub float_weight: Option<Param<Tensor<2>>>,
    /// Bias of shape `[d_output]`, in full precision.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear4bit {
    /// Quantizes the weight of a full-precision layer. The bias keeps its identifier and its `require_grad`.
    ///
    /// # Panics
    ///
    /// If the size of a block is out of its range, or the weight has an adapter or is quantized already.
    #[track_caller]
    pub fn from_linear(linear: &Linear, config: &FourBitConfig) -> Self {
        let weight = &linear.weight;
        assert!(
            weight.adapter().is_none()
                && weight.reparameterization::<FakeQuant>().is_none()
                && weight.reparameterization::<PackedParameter>().is_none(),
            "a Linear4bit is made from a plain weight, got one with a reparameterization"
        );
        let matrix = weight.base().without_autodiff().transpose();
        Self::from_packed(
            PackedFourBit::from_matrix(matrix, config),
            linear.bias.clone(),
        )
    }

    /// Creates a layer from a weight that was quantized elsewhere.
    pub fn from_packed(weight: PackedFourBit, bias: Option<Param<Tensor<1>>>) -> Self {
        Self {
            weight,
            float_weight: None,
            bias,
        }
    }

    /// Creates a layer that is not quantized, for use among those that are.
    pub fn full_precision(linear: Linear) -> Self {
        let Linear { weight, bias } = linear;
        let [d_input, _] = weight.lazy_shape().dims();
        let rows = Tensor::zeros([0, d_input], (&weight.lazy_device().inner(), DType::F32));
        Self {
            weight: PackedFourBit::from_matrix(rows, &FourBitConfig::default()),
            float_weight: Some(weight),
            bias,
        }
    }

    /// Returns whether it is not quantized.
    pub fn is_full_precision(&self) -> bool {
        self.float_weight.is_some()
    }

    /// Applies the layer.
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
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let [_, d_input] = self.weight.dims();
        assert_shape!(x, [.., d_input]);
        let bias = self.bias.as_ref().map(Param::val);
        match &self.float_weight {
            Some(weight) => linear_map(x, weight.val(), bias),
            None => self.weight.linear(x, bias),
        }
    }

    /// Returns the full-precision layer with the dequantized weight, in the type that it was quantized from.
    pub fn dequantize(&self) -> Linear {
        let dequantized = || Param::from_tensor(self.weight.dequantize().transpose());
        Linear {
            weight: self.float_weight.clone().unwrap_or_else(dequantized),
            bias: self.bias.clone(),
        }
    }
}

impl Projection for Linear4bit {
    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        Linear4bit::forward(self, x)
    }

    fn saved(&self) -> SavedTensors {
        let float = self.float_weight.as_ref();
        SavedTensors::of_input(
            match float.is_some_and(|weight| weight.val().is_require_grad()) {
                true => SavedInput::Kept,
                false => SavedInput::Unused,
            },
        )
    }
}

impl ModuleDisplay for Linear4bit {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [d_output, d_input] = self.weight.dims();
        let (d_output, weight) = match &self.float_weight {
            Some(weight) => (weight.shape()[1], "full precision".to_string()),
            None => (d_output, self.weight.config().to_string()),
        };
        content
            .add("d_input", &d_input)
            .add("d_output", &d_output)
            .add("bias", &self.bias.is_some())
            .add("weight", &weight)
            .optional()
    }
}
