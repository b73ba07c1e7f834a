use burn::{
    module::{Content, DisplaySettings, Module, ModuleDisplay, Param},
    nn::{Linear, RmsNorm},
    tensor::{Tensor, assert_shape},
};

use super::{
    PackedBitLinear, Projection, SavedInput, SavedTensors,
    quantized_product::{is_plain, normalized, packed, packed_product, product, quantized},
};
use crate::{
    functions::bit_linear_with,
    ops::Groups,
    qat::{ActivationFakeQuant, FakeQuant, PackedParameter, PackedWeight, QuantControls},
    quant::QatScheme,
};

/// Linear layer with ternary weights and quantized activations, trained with latent weights.
///
/// `Y = Qx(norm(X)) Qw(W) + b`
///
/// with `Qw` and `Qx` the quantizers of the scheme (see
/// [`ternary_fake_quant`](crate::functions::ternary_fake_quant) and
/// [`absmax_fake_quant`](crate::functions::absmax_fake_quant)) and an optional RMS norm. With the
/// identity estimator the gradients are `dW = Qx(norm(X))^T dY` and `d norm(X) = dY Qw(W)^T`.
///
/// Clones share the settings of [`QuantControls`](crate::qat::QuantControls), until one is
/// [detached](crate::qat::detach_controls).
///
/// Equal to `AutoBitLinear` (online) of Hugging Face Transformers.
/// Source: [The Era of 1-bit LLMs](https://arxiv.org/abs/2402.17764).
///
/// # Example
///
/// ```
/// use bitnet_burn::nn::BitLinearConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
///
/// let device = Device::default().autodiff();
/// let layer = BitLinearConfig::new(64, 32).init(&device);
/// let x = Tensor::<3>::random([2, 5, 64], Distribution::Default, &device);
/// let y = layer.forward(x.clone());
/// assert_eq!(y.dims(), [2, 5, 32]);
///
/// // For inference: 2 bits per weight and the same outputs.
/// let packed = layer.pack();
/// assert_eq!(packed.forward(x).dims(), [2, 5, 32]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct BitLinear {
    /// Latent weight of shape `[d_input, d_output]`.
    pub weight: Param<Tensor<2>>,
    /// Bias of shape `[d_output]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Norm of the input.
    pub rms_norm: Option<RmsNorm>,
    /// Quantizer of the weight.
    pub weight_quant: FakeQuant,
    /// Quantizer of the input; `None` leaves it in float.
    pub input_quant: Option<ActivationFakeQuant>,
}

/// Dimension of the output channels in a weight `[d_input, d_output]`.
const OUTPUT_AXIS: usize = 1;

impl BitLinear {
    /// Creates the layer from a full-precision one, for fine-tuning: the float weight becomes the latent
    /// weight. There is no norm.
    ///
    /// At [`lambda`](crate::qat::QuantControls::set_lambda) 0 it computes the same as the linear layer, bit
    /// for bit, unless the scheme rotates the input. Parameters keep their identifiers and their
    /// `require_grad`. Records hold the weight as `[d_input, d_output]` for any
    /// [layout](burn::nn::LinearLayout) of the linear layer.
    ///
    /// # Panics
    ///
    /// If the weight granularity of the scheme does not fit the layer, or the weight has an adapter
    /// or is fake-quantized already.
    ///
    /// # Example
    ///
    /// ```
    /// use bitnet_burn::{nn::BitLinear, qat::QuantControls, quant::QatScheme};
    /// use burn::{nn::LinearConfig, tensor::{Device, Distribution, Tensor}};
    ///
    /// let device = Device::default();
    /// let linear = LinearConfig::new(64, 32).init(&device);
    /// let layer = BitLinear::from_linear(linear.clone(), &QatScheme::b1_58());
    /// QuantControls::of(&layer).set_lambda(0.0);
    /// let x = Tensor::<2>::random([5, 64], Distribution::Default, &device);
    /// assert_eq!(layer.forward(x.clone()).into_data(), linear.forward(x).into_data());
    /// ```
    #[track_caller]
    pub fn from_linear(linear: Linear, scheme: &QatScheme) -> Self {
        let Linear { weight, bias } = linear;
        assert!(
            weight.adapter().is_none()
                && weight.reparameterization::<FakeQuant>().is_none()
                && weight.reparameterization::<PackedParameter>().is_none(),
            "a BitLinear is made from a plain weight, got one with a reparameterization"
        );
        // The column layout transposes weights on saving and loading records.
        let weight = weight.save_mapper(|weight| weight);
        let weight = weight.load_mapper(|weight| weight);
        Self::from_parameters(weight, bias, None, scheme)
    }

    /// Replaces the quantizers with those of a scheme, and keeps the latent weight. A layer that is
    /// [excluded](crate::qat::QuantControls::set_excluded) from quantization stays so.
    ///
    /// # Panics
    ///
    /// If the weight granularity of the scheme does not fit the layer, or its weight is packed.
    #[track_caller]
    #[must_use]
    pub fn with_scheme(self, scheme: &QatScheme) -> Self {
        assert!(self.packed().is_none(), "a packed weight does not train");
        let weight_is_excluded = self.weight_quant.is_excluded();
        let input_is_excluded = self.input_quant.as_ref().map(|quant| quant.is_excluded());
        let layer = Self::from_parameters(self.weight, self.bias, self.rms_norm, scheme);
        let controls = QuantControls::of(&layer);
        let of = |name: &str| controls.filter(|path| path == name);
        of("weight_quant").set_excluded(weight_is_excluded);
        of("input_quant").set_excluded(input_is_excluded.unwrap_or(false));
        layer
    }

    #[track_caller]
    pub(super) fn from_parameters(
        weight: Param<Tensor<2>>,
        bias: Option<Param<Tensor<1>>>,
        rms_norm: Option<RmsNorm>,
        scheme: &QatScheme,
    ) -> Self {
        let shape: [usize; 2] = weight.lazy_shape().dims();
        if let Err(error) = scheme.weight.groups(&shape, OUTPUT_AXIS) {
            panic!("BitLinear of shape {shape:?}: {error}");
        }
        let latent = weight.val();
        Self {
            input_quant: ActivationFakeQuant::new(scheme, &latent.device()),
            weight_quant: FakeQuant::new(scheme, latent, OUTPUT_AXIS),
            weight,
            bias,
            rms_norm,
        }
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
        let [d_input, _] = self.weight.shape().dims();
        assert_shape!(x, [.., d_input]);
        let x = normalized(x, &self.rms_norm);
        let bias = self.bias.as_ref().map(Param::val);
        if let Some(weight) = self.packed() {
            let bits = self.fused().map(|(_, bits)| bits);
            return packed_product(x, weight, bias, &self.input_quant, bits);
        }
        if let (Some(input_quant), Some((groups, bits))) = (&self.input_quant, self.fused()) {
            let weight = self.weight.val();
            self.weight_quant.observe(&weight);
            let input_gradient = self.weight_quant.input_gradient();
            let x = input_quant.observe(x);
            return bit_linear_with(x, weight, bias, groups, bits, input_gradient);
        }
        let x = quantized(x, &self.input_quant);
        let latent = self.weight.val().cast(x.dtype());
        product(x, self.weight_quant.forward(latent), bias)
    }

    /// Returns the packed weight that replaces the latent one in a layer of a
    /// [`PackedModel`](crate::qat::PackedModel::load_into).
    pub(super) fn packed(&self) -> Option<&PackedWeight> {
        packed(&self.weight, OUTPUT_AXIS)
    }

    /// Returns the groups of the weight and the bits of the input, if the layer is [`bit_linear`](crate::functions::bit_linear).
    pub(super) fn fused(&self) -> Option<(Groups, u8)> {
        let bits = self.input_quant.as_ref()?.absmax_bits()?;
        let groups = self
            .weight_quant
            .ternary_groups(&self.weight.shape().dims::<2>())?;
        Some((groups, bits))
    }

    /// Returns whether the layer computes BitNet b1.58, as other programs do with its weight: one absmean
    /// scale for the weight, 8 bits and one absmax scale for each token, no rotation and no norm. A bias is
    /// allowed: it is added in full precision.
    pub fn is_b1_58(&self) -> bool {
        matches!(self.fused(), Some((_, 8))) && self.is_b1_58_weight()
    }

    /// Returns whether its weight is that of BitNet b1.58, for any treatment of the input: ternary with one
    /// absmean scale, no rotation and no norm.
    pub fn is_b1_58_weight(&self) -> bool {
        let shape: [usize; 2] = self.weight.shape().dims();
        let groups = self.weight_quant.ternary_groups(&shape);
        groups.is_some_and(|groups| groups.num_groups() == 1)
            && is_plain(&self.input_quant, &self.rms_norm)
    }

    /// Returns whether it stays in full precision, in training and packed: weight and input are
    /// [excluded](crate::qat::QuantControls::set_excluded) from quantization, and the input has no norm or
    /// rotation.
    pub fn is_full_precision(&self) -> bool {
        let input = self.input_quant.as_ref();
        self.weight_quant.is_excluded()
            && input.is_none_or(ActivationFakeQuant::is_excluded)
            && is_plain(&self.input_quant, &self.rms_norm)
    }

    /// Returns `Qw(W)`, of shape `[d_input, d_output]`.
    pub fn quantized_weight(&self) -> Tensor<2> {
        match self.packed() {
            Some(weight) => weight.unpack().transpose(),
            None => self.weight_quant.forward(self.weight.val()),
        }
    }

    /// Packs the weights: returns the layer for inference, with the same outputs. A layer that
    /// [stays in full precision](Self::is_full_precision) keeps its weight.
    ///
    /// # Panics
    ///
    /// If the weight [cannot be packed](FakeQuant::is_packable).
    #[track_caller]
    pub fn pack(&self) -> PackedBitLinear {
        if self.is_full_precision() {
            return PackedBitLinear::full_precision(Linear {
                weight: self.weight.valid(),
                bias: self.bias.as_ref().map(Module::valid),
            });
        }
        PackedBitLinear {
            float_weight: None,
            weight: match self.packed() {
                Some(weight) => weight.clone(),
                None => (self.weight_quant).pack(self.weight.base().without_autodiff()),
            },
            bias: self.bias.as_ref().map(Module::valid),
            rms_norm: self.rms_norm.as_ref().map(Module::valid),
            input_quant: self.input_quant.as_ref().map(Module::valid),
            fused: self.fused().is_some(),
        }
    }
}

impl Projection for BitLinear {
    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        BitLinear::forward(self, x)
    }

    fn saved(&self) -> SavedTensors {
        let (input, input_copy, weight_copy) = match &self.input_quant {
            _ if self.is_full_precision() => (SavedInput::Recomputed, 0, false),
            // The codes of the input; the weight is quantized again from the latent one.
            Some(_) if self.fused().is_some() => (SavedInput::Unused, 1, false),
            Some(quant) if quant.keeps_input() => (SavedInput::Kept, 4, true),
            Some(_) => (SavedInput::Unused, 4, true),
            None => (SavedInput::Recomputed, 0, true),
        };
        SavedTensors {
            input,
            input_copy,
            weight_copy,
        }
    }
}

impl ModuleDisplay for BitLinear {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [d_input, d_output] = self.weight.shape().dims();
        content
            .add("d_input", &d_input)
            .add("d_output", &d_output)
            .add("bias", &self.bias.is_some())
            .add("rms_norm", &self.rms_norm.is_some())
            .optional()
    }
}
