use burn::{
    module::{Module, Param, Reparameterization},
    tensor::Tensor,
};

use super::{
    PackedWeight, QuantizerSettings,
    control::{Controlled, ControlledWeight, QuantControl},
};
use crate::{
    ops::{Groups, InputGradient},
    quant::{NoiseConfig, QatScheme, QuantizedWeight, Ste, TernaryScale, WeightQuantizer, blend},
};

/// Reparameterization `W -> Q(W)`: a parameter that is trained with its quantized value.
///
/// The parameter holds the latent weight ([`Param::base`](burn::module::Param::base)), which the
/// optimizer updates and checkpoints store. Layers read `Q(W)` through
/// [`Param::val`](burn::module::Param::val). [`Prepare`](super::Prepare) attaches it, and
/// [`QuantControls`](super::QuantControls) sets its progress, width and noise during training, in all
/// clones that are not [detached](super::detach_controls).
#[derive(Module, Debug)]
pub struct FakeQuant {
    #[module(skip)]
    quantizer: WeightQuantizer,
    #[module(skip)]
    ste: Ste,
    #[module(skip)]
    noise: Option<NoiseConfig>,
    output_axis: usize,
    #[module(skip)]
    input_gradient: InputGradient,
    /// Trained scales `[outer, inner]`, if the quantizer has them.
    pub scale: Option<Param<Tensor<2>>>,
    control: QuantControl,
}

impl FakeQuant {
    /// Creates the fake quantization of `weight`, whose output channels lie along `output_axis`, with the
    /// weight quantizer, estimator and noise of a scheme.
    ///
    /// # Panics
    ///
    /// If the granularity of the quantizer does not fit the weight.
    #[track_caller]
    pub fn new<const D: usize>(scheme: &QatScheme, weight: Tensor<D>, output_axis: usize) -> Self {
        let controlled = ControlledWeight {
            shape: weight.dims().to_vec(),
            quantizer: scheme.weight.clone(),
            output_axis,
        };
        let settings = QuantizerSettings {
            noise: scheme.noise,
            ..QuantizerSettings::new(controlled.to_string(), scheme.ste)
        };
        let controlled = Controlled::Weight(controlled);
        let control = QuantControl::new(controlled, settings, &weight.device());
        let mut fake_quant = Self {
            quantizer: scheme.weight.clone(),
            ste: scheme.ste,
            noise: scheme.noise,
            output_axis,
            input_gradient: scheme.input_gradient,
            scale: None,
            control,
        };
        let groups = fake_quant.groups(&weight.dims());
        if let Some(config) = scheme.weight.as_learned_step() {
            let scale = config.initial_scales(weight.detach(), groups);
            fake_quant.scale = Some(Param::from_tensor(scale));
        }
        fake_quant
    }

    /// Returns the fake quantization of a control and its trained scales, if the control is that of a weight.
    #[cfg(feature = "peft")]
    pub(super) fn of_control(
        control: QuantControl,
        scale: Option<Param<Tensor<2>>>,
    ) -> Option<Self> {
        let values = control.values();
        let (weight, settings) = (values.weight()?, &values.settings);
        Some(Self {
            quantizer: weight.quantizer.clone(),
            ste: settings.ste,
            noise: settings.noise,
            output_axis: weight.output_axis,
            input_gradient: InputGradient::Float,
            scale,
            control,
        })
    }

    /// Returns the quantizer.
    pub fn quantizer(&self) -> &WeightQuantizer {
        &self.quantizer
    }

    /// Returns the precision of the gradient of a layer's input.
    pub(crate) fn input_gradient(&self) -> InputGradient {
        self.input_gradient
    }

    /// Returns the dimension of the output channels.
    pub fn output_axis(&self) -> usize {
        self.output_axis
    }

    /// Returns whether the weight can be packed: the codes are all in {-1, 0, 1}, and only the quantized
    /// value is used.
    pub fn is_packable(&self) -> bool {
        self.control.state().is_full() && self.active_quantizer().is_ternary()
    }

    /// Returns whether the weight stays in float for any lambda; see
    /// [`set_excluded`](super::QuantControls::set_excluded).
    pub fn is_excluded(&self) -> bool {
        self.control.state().excluded
    }

    fn active_quantizer(&self) -> WeightQuantizer {
        match self.control.values().weight() {
            Some(weight) => weight.active_quantizer(&self.control.state()),
            None => self.quantizer.clone(),
        }
    }

    #[track_caller]
    fn groups(&self, shape: &[usize]) -> Groups {
        match self.active_quantizer().groups(shape, self.output_axis) {
            Ok(groups) => groups,
            Err(error) => panic!("weight of shape {shape:?}: {error}"),
        }
    }

    /// Returns `Q(W)` of a latent weight, with the gradient of the estimator. If a schedule set `lambda`
    /// below 1, returns the blend `W + lambda * (Q(W) - W)`.
    ///
    /// # Panics
    ///
    /// If the granularity of the quantizer does not fit the weight.
    #[track_caller]
    pub fn forward<const D: usize>(&self, latent: Tensor<D>) -> Tensor<D> {
        self.observe(&latent);
        let state = self.control.state();
        if state.is_float() || latent.shape().num_elements() == 0 {
            return latent;
        }
        let groups = self.groups(&latent.dims());
        let quantized = || self.quantize(latent.clone(), groups);
        let quantized = match self.noise {
            // Noise is for training only; an evaluation uses the deployed weight.
            Some(noise) if latent.is_autodiff() => {
                let constant = self.constant(latent.clone().detach(), groups);
                noise.apply(latent.clone(), constant, quantized, state.noise_key)
            }
            _ => quantized(),
        };
        blend(latent, quantized, state.lambda)
    }

    /// Passes a latent weight to its observers.
    pub(crate) fn observe<const D: usize>(&self, latent: &Tensor<D>) {
        let control = self.control.values();
        control.observer.see(latent);
        if control.error_probe.starts() {
            self.measure(latent.clone());
        }
    }

    /// Returns the groups of a weight of the given shape, if [`forward`](Self::forward) is only
    /// [`ternary_fake_quant`](crate::functions::ternary_fake_quant).
    pub(crate) fn ternary_groups(&self, shape: &[usize]) -> Option<Groups> {
        let plain = self.control.state().is_full() && self.noise.is_none();
        match self.active_quantizer() {
            WeightQuantizer::Ternary {
                scale: TernaryScale::Absmean,
                ..
            } if plain && self.ste == Ste::Identity => Some(self.groups(shape)),
            _ => None,
        }
    }

    /// Measures the quantization error of a latent weight; an empty one is skipped.
    fn measure<const D: usize>(&self, latent: Tensor<D>) {
        let latent = latent.without_autodiff();
        if latent.shape().num_elements() > 0 {
            let groups = self.groups(&latent.dims());
            let quantized = self.constant(latent.clone(), groups);
            let probe = &self.control.values().error_probe;
            probe.measure_weight(latent, quantized, groups);
        }
    }

    /// Returns the quantized value as a constant, with its scales and levels.
    fn constant<const D: usize>(&self, latent: Tensor<D>, groups: Groups) -> QuantizedWeight<D> {
        let quantizer = self.active_quantizer();
        match (quantizer.as_learned_step(), &self.scale) {
            (Some(config), Some(scale)) => {
                // Without autodiff, as for packing, the weight must not track gradients through its scale.
                let scale = match latent.is_autodiff() {
                    true => scale.val(),
                    false => scale.val().without_autodiff(),
                };
                config.quantize(latent, scale, groups)
            }
            _ => quantizer.quantize(latent, groups),
        }
    }

    fn quantize<const D: usize>(&self, latent: Tensor<D>, groups: Groups) -> Tensor<D> {
        let quantizer = self.active_quantizer();
        match (quantizer.as_learned_step(), &self.scale) {
            (Some(config), Some(scale)) => config.fake_quant(latent, scale.val(), groups),
            _ => quantizer.fake_quant(latent, groups, self.ste).0,
        }
    }

    /// Packs a latent weight: the values are those of [`forward`](Self::forward), bit for bit.
    ///
    /// # Panics
    ///
    /// If the weight [cannot be packed](Self::is_packable), or does not fit the granularity.
    #[track_caller]
    pub fn pack<const D: usize>(&self, latent: Tensor<D>) -> PackedWeight {
        let state = self.control.state();
        assert!(
            state.lambda == 1.0,
            "a weight is packed when it is quantized in full, got lambda {}",
            state.lambda
        );
        assert!(
            !state.excluded,
            "a weight that is excluded from quantization is not packed"
        );
        let groups = self.groups(&latent.dims());
        let quantizer = self.active_quantizer();
        let quantized = self.constant(latent.detach(), groups);
        PackedWeight::from_quantized(quantized, &quantizer, groups, self.output_axis)
    }
}

impl Reparameterization for FakeQuant {
    const NAME: &'static str = "fake_quant";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        self.forward(base)
    }
}
