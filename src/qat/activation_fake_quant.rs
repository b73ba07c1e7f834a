use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};

use super::{
    QuantizerSettings,
    control::{Controlled, QuantControl},
};
use crate::quant::{
    AbsmaxConfig, ActivationGranularity, ActivationQuantizer, BitWidth, HadamardConfig, QatScheme,
    StaticRange, Ste, blend,
};

/// Fake quantization `x -> Q(x)` of the input of a quantized layer, with the trained or calibrated
/// parameters of the quantizer.
///
/// [`QuantControls`](super::QuantControls) sets its progress and width during training, and its range
/// after calibration.
#[derive(Module, Debug)]
pub struct ActivationFakeQuant {
    #[module(skip)]
    quantizer: ActivationQuantizer,
    #[module(skip)]
    ste: Ste,
    #[module(skip)]
    rotation: Option<HadamardConfig>,
    /// Trained step size `[1, 1]`, if the quantizer has it.
    pub scale: Option<Param<Tensor<2>>>,
    /// Trained offset `[1, 1]`, if the quantizer has it.
    pub offset: Option<Param<Tensor<2>>>,
    control: QuantControl,
}

impl ActivationFakeQuant {
    /// Creates the activation quantizer of a scheme; `None` if it leaves activations in float.
    ///
    /// # Panics
    ///
    /// If the scheme rotates activations that it does not quantize.
    #[track_caller]
    pub fn new(scheme: &QatScheme, device: &Device) -> Option<Self> {
        assert!(
            scheme.activation.is_some() || scheme.rotation.is_none(),
            "a rotation is for activations that are quantized, and the scheme leaves them in float"
        );
        let quantizer = scheme.activation.clone()?;
        let (mut scale, mut offset) = (None, None);
        if let Some(config) = quantizer.as_learned_step() {
            let [initial, offsets] = config.initial_parameters(device);
            scale = Some(Param::from_tensor(initial));
            offset = config.offset.then(|| Param::from_tensor(offsets));
        }
        let static_config = quantizer.as_static();
        let words = match &scheme.rotation {
            Some(rotation) => format!("{quantizer}, {rotation}"),
            None => quantizer.to_string(),
        };
        let settings = QuantizerSettings::new(words, scheme.ste);
        Some(Self {
            quantizer,
            ste: scheme.ste,
            rotation: scheme.rotation,
            scale,
            offset,
            control: QuantControl::new(Controlled::Activation(static_config), settings, device),
        })
    }

    /// Returns the quantizer.
    pub fn quantizer(&self) -> &ActivationQuantizer {
        &self.quantizer
    }

    /// Returns whether values stay in float for any lambda; see
    /// [`set_excluded`](super::QuantControls::set_excluded).
    pub fn is_excluded(&self) -> bool {
        self.control.state().excluded
    }

    /// Returns `Q(x)`, or `Q(H(x))` with a rotation, with the gradient of the estimator. If a schedule set
    /// `lambda` below 1, returns the blend `x + lambda * (Q(x) - x)`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let x = self.observe(x);
        let state = self.control.state();
        if state.is_float() || x.shape().num_elements() == 0 {
            return x;
        }
        blend(x.clone(), self.quantize(x), state.lambda)
    }

    /// Returns the value to quantize, `x` or `H(x)`, after its observers have recorded it.
    pub(crate) fn observe<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let x = match &self.rotation {
            Some(rotation) => rotation.apply(x),
            None => x,
        };
        let control = self.control.values();
        control.observer.see(&x);
        if control.error_probe.starts() && x.shape().num_elements() > 0 {
            let x = x.clone().without_autodiff();
            let probe = &control.error_probe;
            probe.measure_activation(x.clone(), self.quantize(x), self.limits());
        }
        x
    }

    /// Returns whether its gradient needs its input: that of the identity estimator is that of the output.
    pub(crate) fn keeps_input(&self) -> bool {
        self.ste != Ste::Identity
    }

    /// Returns whether the input is rotated before quantization.
    pub(crate) fn rotates(&self) -> bool {
        self.rotation.is_some()
    }

    /// Returns the bits, if [`forward`](Self::forward) is only
    /// [`absmax_fake_quant`](crate::functions::absmax_fake_quant) per token.
    pub(crate) fn absmax_bits(&self) -> Option<u8> {
        let state = self.control.state();
        let plain = state.is_full() && self.ste == Ste::Identity;
        match (state.width, &self.quantizer) {
            (Some(BitWidth::Bits(bits)), _) if plain => Some(bits),
            (
                Some(BitWidth::Ternary) | None,
                &ActivationQuantizer::Absmax {
                    bits,
                    granularity: ActivationGranularity::PerToken,
                },
            ) if plain => Some(bits),
            _ => None,
        }
    }

    /// Returns the values of the first and the last code, if the range is not computed from the values
    /// themselves.
    fn limits(&self) -> Option<[Tensor<1>; 2]> {
        let state = self.control.state();
        if state.width.is_some() {
            return None;
        }
        let (step, zero_point, codes) = if let Some(config) = self.quantizer.as_static() {
            let StaticRange { step, zero_point } = state.range?;
            let device = self.control.device();
            let fixed = |value| Tensor::full([1], value, &device);
            (fixed(step), fixed(zero_point), config.codes())
        } else {
            let config = self.quantizer.as_learned_step()?;
            let step = self.scale.as_ref()?.val().reshape([1]);
            let zero_point = match &self.offset {
                Some(offset) => offset.val().reshape([1]).neg() / step.clone(),
                None => step.zeros_like(),
            };
            (step, zero_point, config.codes())
        };
        let limit = |code: f32| (zero_point.clone().neg() + code) * step.clone();
        Some([limit(codes.min - 0.5), limit(codes.max + 0.5)])
    }

    fn quantize<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let state = self.control.state();
        if let Some(BitWidth::Bits(bits)) = state.width {
            let granularity = ActivationGranularity::PerToken;
            return AbsmaxConfig { bits, granularity }.fake_quant(x, self.ste);
        }
        if let Some(config) = self.quantizer.as_static() {
            return config.fake_quant(x, state.range, self.ste);
        }
        match (self.quantizer.as_learned_step(), &self.scale) {
            (Some(config), Some(step)) => {
                let step = step.val();
                let offset = match &self.offset {
                    Some(offset) => offset.val(),
                    None => step.clone().detach().zeros_like(),
                };
                config.fake_quant(x, step, offset)
            }
            _ => self.quantizer.fake_quant(x, self.ste),
        }
    }
}
