use burn::{
    module::{Module, Param},
    nn::{Linear, RmsNorm},
    tensor::{Tensor, assert_shape},
};

use super::{
    Projection, SavedInput, SavedTensors,
    projection::linear_map,
    quantized_product::{is_plain, normalized, packed_product},
};
use crate::{
    qat::{ActivationFakeQuant, PackedWeight},
    quant::QatScheme,
};

/// Inference form of [`BitLinear`](super::BitLinear): packed weights of 2 bits.
///
/// Created by [`BitLinear::pack`](super::BitLinear::pack); the values are those of training, bit for bit. The weight is a constant:
/// under autodiff the input and the bias have gradients.
///
/// With absmean ternary weights and absmax inputs per token, Flex multiplies the packed codes directly, and
/// so does CubeCL for up to 16 tokens. Other schemes, more tokens and other devices unpack the weight into a
/// matrix in each forward pass.
#[derive(Module, Debug)]
pub struct PackedBitLinear {
    /// Packed weight; without rows in a layer that is not quantized.
    pub weight: PackedWeight,
    /// Weight of shape `[d_input, d_output]` of a layer that is not quantized, in place of the packed
    /// one.
    pub float_weight: Option<Param<Tensor<2>>>,
    /// Bias of shape `[d_output]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Norm of the input.
    pub rms_norm: Option<RmsNorm>,
    /// Quantizer of the input; `None` leaves it in float.
    pub input_quant: Option<ActivationFakeQuant>,
    /// `true` if training computes [`bit_linear`](crate::functions::bit_linear).
    #[module(skip)]
    pub(super) fused: bool,
}

impl PackedBitLinear {
    /// Creates a layer that is not quantized, for use among those that are.
    pub fn full_precision(linear: Linear) -> Self {
        let Linear { weight, bias } = linear;
        let [d_input, _] = weight.lazy_shape().dims();
        let device = weight.lazy_device();
        Self {
            weight: PackedWeight::from_words(Vec::new(), [0, d_input], 1.0, &device),
            float_weight: Some(weight),
            bias,
            rms_norm: None,
            input_quant: None,
            fused: false,
        }
    }

    /// Sets the bias.
    #[must_use]
    pub fn with_bias(mut self, bias: Option<Param<Tensor<1>>>) -> Self {
        self.bias = bias;
        self
    }

    /// Creates a layer of BitNet b1.58 without norm and bias, from a weight packed elsewhere.
    ///
    /// # Panics
    ///
    /// If the weight has more than one scale.
    #[track_caller]
    pub fn b1_58(weight: PackedWeight) -> Self {
        let scales = weight.scales.val();
        assert_shape!(scales, [1, 1]);
        Self {
            input_quant: ActivationFakeQuant::new(&QatScheme::b1_58(), &scales.device()),
            weight,
            float_weight: None,
            bias: None,
            rms_norm: None,
            fused: true,
        }
    }

    /// See [`BitLinear::is_b1_58`](super::BitLinear::is_b1_58).
    pub fn is_b1_58(&self) -> bool {
        let bits = self.input_quant.as_ref().and_then(|q| q.absmax_bits());
        self.fused && bits == Some(8) && self.is_b1_58_weight()
    }

    /// See [`BitLinear::is_full_precision`](super::BitLinear::is_full_precision).
    pub fn is_full_precision(&self) -> bool {
        self.float_weight.is_some()
    }

    /// See [`BitLinear::is_b1_58_weight`](super::BitLinear::is_b1_58_weight).
    pub fn is_b1_58_weight(&self) -> bool {
        !self.is_full_precision()
            && self.weight.groups().num_groups() == 1
            && is_plain(&self.input_quant, &self.rms_norm)
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
        let x = normalized(x, &self.rms_norm);
        let bias = self.bias.as_ref().map(Param::val);
        if let Some(weight) = &self.float_weight {
            return linear_map(x, weight.val(), bias);
        }
        let input_quant = self.input_quant.as_ref().filter(|_| self.fused);
        let bits = input_quant.and_then(ActivationFakeQuant::absmax_bits);
        packed_product(x, &self.weight, bias, &self.input_quant, bits)
    }
}

impl Projection for PackedBitLinear {
    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        PackedBitLinear::forward(self, x)
    }

    fn saved(&self) -> SavedTensors {
        let is_fused = self.fused && self.input_quant.is_some();
        SavedTensors::of_input(match &self.float_weight {
            None if is_fused => SavedInput::Unused,
            Some(weight) if !weight.val().is_require_grad() => SavedInput::Unused,
            _ => SavedInput::Kept,
        })
    }
}
