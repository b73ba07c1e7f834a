use burn::{
    config::Config,
    module::{Content, DisplaySettings, Initializer, Module, ModuleDisplay, Param},
    nn::{Linear, RmsNorm, RmsNormConfig},
    tensor::{Device, Tensor, assert_shape, module::linear},
};

use super::{Projection, SavedTensors, TrainableProjection, projection::zero_bias};
use crate::{
    functions::bit_linear,
    ops::Groups,
    qat::{ActivationFakeQuant, FakeQuant, PackedParameter, PackedWeight, QuantControls},
    quant::QatScheme,
};

/// Configuration of a [`BitLinear`] layer.
#[derive(Config, Debug)]
pub struct BitLinearConfig {
    /// The size of the input features.
    pub d_input: usize,
    /// The size of the output features.
    pub d_output: usize,
    /// Adds a bias. BitNet models have none.
    #[config(default = false)]
    pub bias: bool,
    /// Epsilon of an RMS norm applied to the input before it is quantized; `None` for no norm,
    /// as in models that normalize outside of their linear layers.
    pub rms_norm_epsilon: Option<f64>,
    /// Quantization scheme of weights and activations.
    #[config(default = "QatScheme::b1_58()")]
    pub scheme: QatScheme,
    /// Initializer of the latent weights.
    #[config(default = "Initializer::KaimingUniform{gain:1.0/3f64.sqrt(), fan_out_only:false}")]
    pub initializer: Initializer,
}

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

impl BitLinearConfig {
    /// Initialize a new [`BitLinear`] layer.
    ///
    /// # Panics
    ///
    /// If the weight granularity of the scheme does not fit the layer.
    #[track_caller]
    pub fn init(&self, device: &Device) -> BitLinear {
        let shape = [self.d_input, self.d_output];
        let fans = (Some(self.d_input), Some(self.d_output));
        let bias = self.bias.then(|| {
            self.initializer
                .init_with([self.d_output], fans.0, fans.1, device)
        });
        let weight = self.initializer.init_with(shape, fans.0, fans.1, device);
        let rms_norm = self.rms_norm_epsilon.map(|epsilon| {
            RmsNormConfig::new(self.d_input)
                .with_epsilon(epsilon)
                .init(device)
        });
        BitLinear::from_parameters(weight, bias, rms_norm, &self.scheme)
    }
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
    fn from_parameters(
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
            return bit_linear(input_quant.observe(x), weight, bias, groups, bits);
        }
        let x = quantized(x, &self.input_quant);
        let latent = self.weight.val().cast(x.dtype());
        product(x, self.weight_quant.forward(latent), bias)
    }

    /// Returns the packed weight that replaces the latent one in a layer of a
    /// [`PackedModel`](crate::qat::PackedModel::load_into).
    fn packed(&self) -> Option<&PackedWeight> {
        let packed = self.weight.reparameterization::<PackedParameter>()?;
        (packed.row_axis() == OUTPUT_AXIS).then_some(packed.weight())
    }

    /// Returns the groups of the weight and the bits of the input, if the layer is [`bit_linear`].
    fn fused(&self) -> Option<(Groups, u8)> {
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

/// Computes `X W + b`. Not every backend multiplies by a matrix without values; [`bit_linear`] does, and
/// gives the same then.
fn product<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    match x.shape().num_elements() {
        0 => {
            let groups = Groups::per_tensor(weight.shape().num_elements());
            bit_linear(x, weight, bias, groups, 8)
        }
        _ => linear(x, weight, bias),
    }
}

/// Computes the product of a layer with a packed weight; `bits` is set if training uses [`bit_linear`].
fn packed_product<const D: usize>(
    x: Tensor<D>,
    weight: &PackedWeight,
    bias: Option<Tensor<1>>,
    input_quant: &Option<ActivationFakeQuant>,
    bits: Option<u8>,
) -> Tensor<D> {
    match (input_quant, bits) {
        (Some(quant), Some(bits)) => weight.linear(quant.observe(x), bias, bits),
        _ => {
            let x = quantized(x, input_quant);
            // In the type of the input, as a latent weight is cast to it.
            let weight = weight.unpack_as(x.dtype().into());
            product(x, weight.transpose(), bias)
        }
    }
}

/// Returns whether the input has no norm, rotation or other step that other programs do not support.
fn is_plain(input_quant: &Option<ActivationFakeQuant>, rms_norm: &Option<RmsNorm>) -> bool {
    let unrotated = input_quant.as_ref().is_none_or(|quant| !quant.rotates());
    unrotated && rms_norm.is_none()
}

fn normalized<const D: usize>(x: Tensor<D>, rms_norm: &Option<RmsNorm>) -> Tensor<D> {
    match rms_norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}

fn quantized<const D: usize>(x: Tensor<D>, input_quant: &Option<ActivationFakeQuant>) -> Tensor<D> {
    match input_quant {
        Some(input_quant) => input_quant.forward(x),
        None => x,
    }
}

impl Projection for BitLinear {
    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        BitLinear::forward(self, x)
    }

    fn saved(&self) -> SavedTensors {
        // The codes of the input; the weight is quantized again from the latent one.
        let fused = SavedTensors {
            input: false,
            input_copy: 1,
            weight_copy: false,
        };
        let full_precision = SavedTensors {
            input: true,
            input_copy: 0,
            weight_copy: false,
        };
        match (&self.input_quant, self.fused()) {
            _ if self.is_full_precision() => full_precision,
            (Some(_), Some(_)) => fused,
            (Some(quant), None) => SavedTensors {
                input: quant.keeps_input(),
                input_copy: 4,
                weight_copy: true,
            },
            (None, _) => SavedTensors {
                input: true,
                input_copy: 0,
                weight_copy: true,
            },
        }
    }
}

impl TrainableProjection for BitLinear {
    fn init(
        [d_input, d_output]: [usize; 2],
        bias: bool,
        initializer: &Initializer,
        scheme: &QatScheme,
        device: &Device,
    ) -> Self {
        let mut layer = BitLinearConfig::new(d_input, d_output)
            .with_initializer(initializer.clone())
            .with_scheme(scheme.clone())
            .init(device);
        layer.bias = bias.then(|| zero_bias(d_output, device));
        layer
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

/// Inference form of [`BitLinear`]: packed weights of 2 bits.
///
/// Created by [`BitLinear::pack`]; the values are those of training, bit for bit. The weight is a constant:
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
    /// `true` if training computes [`bit_linear`].
    #[module(skip)]
    fused: bool,
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

    /// See [`BitLinear::is_b1_58`].
    pub fn is_b1_58(&self) -> bool {
        let bits = self.input_quant.as_ref().and_then(|q| q.absmax_bits());
        self.fused && bits == Some(8) && self.is_b1_58_weight()
    }

    /// See [`BitLinear::is_full_precision`].
    pub fn is_full_precision(&self) -> bool {
        self.float_weight.is_some()
    }

    /// See [`BitLinear::is_b1_58_weight`].
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
            let weight = weight.val().cast(x.dtype());
            return product(x, weight, bias);
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_shows_the_dimensions() {
        let layer = BitLinearConfig::new(3, 5).init(&Device::default());
        assert_eq!(
            layer.to_string(),
            "BitLinear {d_input: 3, d_output: 5, bias: false, rms_norm: false, params: 15}"
        );
    }

    #[test]
    #[should_panic(expected = "axis 1 expected 4, got 3")]
    fn the_input_must_have_d_input_features() {
        let device = Device::default();
        let layer = BitLinearConfig::new(4, 2).init(&device);
        layer.forward(Tensor::<2>::zeros([1, 3], &device));
    }

    #[test]
    #[should_panic(expected = "group_size 3 does not divide the 4 input features")]
    fn a_group_size_that_does_not_fit_is_refused_at_init() {
        use crate::quant::{TernaryConfig, WeightGranularity};
        let weight = TernaryConfig::new(WeightGranularity::PerGroup { group_size: 3 });
        BitLinearConfig::new(4, 2)
            .with_scheme(QatScheme::b1_58().with_weight(weight))
            .init(&Device::default());
    }
}
