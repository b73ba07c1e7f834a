use core::fmt;
use std::sync::Arc;

use burn::{
    module::{Module, Param},
    tensor::{Int, Tensor},
};

use super::{ControlState, ControlValues, Detach};
use crate::{
    base::{
        bounds::Bounds,
        path_visitor::{Field, ModulePath, PathVisitor, join, visit_paths},
        random::mix,
    },
    qat::QuantizerSettings,
    quant::BitWidth,
};

/// Controls of the quantizers of a model, which schedules set during training.
///
/// They stay connected to the model: to all its clones, forks on other devices, and models returned by
/// an optimizer. A change takes effect at the next forward pass and is part of the records of the model.
///
/// # Clones
///
/// A clone of a model has the same controls, so that a schedule also sets the copies of a training: for
/// validation, on other devices, [in other types](crate::optim::MixedPrecision). A clone used as another
/// model, such as a teacher cloned from its student, changes with it, too; [`detach_controls`] gives it
/// independent controls.
///
/// Loading a record sets the controls of all clones, even if the record is rejected afterwards: Burn checks
/// a record after loading it. Load into a [detached](detach_controls) clone to keep a model unchanged.
///
/// The path of a quantizer is that of its parameter or module: `layers.0.fc.weight` for a prepared
/// weight, `layers.0.q_proj.weight_quant` and `layers.0.q_proj.input_quant` in a
/// [`BitLinear`](crate::nn::BitLinear).
///
/// # Example
///
/// ```
/// use bitnet_burn::{nn::BitLinearConfig, qat::QuantControls};
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::default();
/// let layer = BitLinearConfig::new(8, 4).init(&device);
/// let controls = QuantControls::of(&layer);
/// controls.set_lambda(0.0); // full precision
/// assert_eq!(layer.quantized_weight().into_data(), layer.weight.val().into_data());
/// controls.set_lambda(1.0); // quantized
/// assert_ne!(layer.quantized_weight().into_data(), layer.weight.val().into_data());
/// ```
#[derive(Debug, Clone)]
pub struct QuantControls {
    controls: Vec<Named>,
}

#[derive(Debug, Clone)]
struct Named {
    path: String,
    values: Arc<ControlValues>,
}

impl QuantControls {
    /// Returns the controls of all quantizers of a module, in declaration order.
    pub fn of<M: Module>(module: &M) -> Self {
        let mut collector = Collector(Vec::new());
        visit_paths(module, &mut collector);
        Self {
            controls: collector.0,
        }
    }

    /// Returns whether a quantizer of these and one of the others share a control, as those of a module and
    /// its clones do.
    pub fn shares_with(&self, others: &Self) -> bool {
        self.controls.iter().any(|own| others.has(own))
    }

    /// Returns whether each quantizer of these shares its control with one of the others, as those of a part
    /// of a model do.
    pub fn is_part_of(&self, others: &Self) -> bool {
        self.controls.iter().all(|own| others.has(own))
    }

    fn has(&self, other: &Named) -> bool {
        let mut own = self.controls.iter();
        own.any(|own| Arc::ptr_eq(&own.values, &other.values))
    }

    /// Returns the number of quantizers.
    pub fn len(&self) -> usize {
        self.controls.len()
    }

    /// Returns whether the module has no quantizers.
    pub fn is_empty(&self) -> bool {
        self.controls.is_empty()
    }

    /// Returns the paths of the quantizers.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.controls.iter().map(|control| control.path.as_str())
    }

    /// Returns the settings of each quantizer, with its path.
    pub fn quantizers(&self) -> impl Iterator<Item = (&str, &QuantizerSettings)> {
        self.iter().map(|(path, values)| (path, &values.settings))
    }

    pub(in crate::qat) fn iter(&self) -> impl Iterator<Item = (&str, &ControlValues)> {
        let controls = self.controls.iter();
        controls.map(|control| (control.path.as_str(), &*control.values))
    }

    /// Returns the controls whose path fulfils a condition.
    pub fn filter(&self, mut condition: impl FnMut(&str) -> bool) -> Self {
        let controls = self.controls.iter().filter(|c| condition(&c.path));
        Self {
            controls: controls.cloned().collect(),
        }
    }

    /// Returns the quantizers of each layer, in the order of the model: those of the weight and the input of
    /// one module.
    pub fn layers(&self) -> Vec<(String, Self)> {
        let mut layers: Vec<(String, Self)> = Vec::new();
        for path in self.paths() {
            let layer = layer_of(path);
            if !layers.iter().any(|(name, _)| name == layer) {
                let own = self.filter(|path| layer_of(path) == layer);
                layers.push((layer.to_string(), own));
            }
        }
        layers
    }

    /// Returns the number of weights that the quantizers quantize; those of a shared parameter count once.
    pub fn num_weights(&self) -> usize {
        let controls = self.controls.iter().enumerate();
        let first = |(i, control): &(usize, &Named)| {
            let earlier = &self.controls[..*i];
            !earlier
                .iter()
                .any(|c| Arc::ptr_eq(&c.values, &control.values))
        };
        controls
            .filter(first)
            .map(|(_, c)| c.values.num_weights())
            .sum()
    }

    /// Returns the state of each quantizer, for [`restore`](Self::restore).
    pub(in crate::qat) fn states(&self) -> Vec<ControlState> {
        self.controls.iter().map(|c| c.values.state()).collect()
    }

    /// Sets lambda, width and flags of each quantizer as they were.
    pub(in crate::qat) fn restore(&self, saved: &[ControlState]) {
        for (control, saved) in self.controls.iter().zip(saved) {
            control.values.update(|state| {
                *state = ControlState {
                    noise_key: state.noise_key,
                    range: state.range,
                    ..*saved
                }
            });
        }
    }

    fn update(&self, set: impl Fn(&mut ControlState)) {
        for control in &self.controls {
            control.values.update(&set);
        }
    }

    /// Returns the controls of weights, or those of activations.
    fn of_kind(&self, weights: bool) -> Self {
        let controls = self.controls.iter();
        let of_kind = controls.filter(|c| c.values.weight().is_some() == weights);
        Self {
            controls: of_kind.cloned().collect(),
        }
    }

    /// Sets the share of the quantized value in `x + lambda * (Q(x) - x)`, for weights and
    /// activations.
    ///
    /// # Panics
    ///
    /// If `lambda` is not in 0..=1.
    #[track_caller]
    pub fn set_lambda(&self, lambda: f64) {
        Bounds::FRACTION.assert("lambda", lambda);
        self.update(|state| state.lambda = lambda as f32);
    }

    /// Sets the share of each quantizer by its path, for a layer-wise schedule; `None` leaves one
    /// unchanged.
    ///
    /// # Panics
    ///
    /// If a value is not in 0..=1.
    #[track_caller]
    pub fn set_lambdas(&self, mut lambda: impl FnMut(&str) -> Option<f64>) {
        for control in &self.controls {
            if let Some(lambda) = lambda(&control.path) {
                Bounds::FRACTION.assert(&format!("lambda of {}", control.path), lambda);
                control.values.update(|state| state.lambda = lambda as f32);
            }
        }
    }

    /// Returns the share of the quantized value of each quantizer, with its path.
    pub fn lambdas(&self) -> impl Iterator<Item = (&str, f64)> {
        self.iter()
            .map(|(path, values)| (path, f64::from(values.state().lambda)))
    }

    /// Sets the width of weight codes in place of the configured quantizer; `None` restores the latter.
    ///
    /// # Panics
    ///
    /// If a number of bits is not in 2..=8.
    #[track_caller]
    pub fn set_weight_width(&self, width: Option<BitWidth>) {
        self.of_kind(true).set_width(width);
    }

    /// Sets the bits of activation codes, by absmax per token, in place of the configured
    /// quantizer; `None` restores the latter.
    ///
    /// # Panics
    ///
    /// If the number of bits is not in 2..=8.
    #[track_caller]
    pub fn set_activation_bits(&self, bits: Option<u8>) {
        self.of_kind(false).set_width(bits.map(BitWidth::Bits));
    }

    /// Sets a scale for each output channel of the weights, or restores the configured granularity. Trained
    /// step sizes keep their granularity.
    pub fn set_per_channel(&self, per_channel: bool) {
        self.of_kind(true)
            .update(|state| state.per_channel = per_channel);
    }

    /// Sets whether values stay in float for any lambda.
    pub fn set_excluded(&self, excluded: bool) {
        self.update(|state| state.excluded = excluded);
    }

    #[track_caller]
    fn set_width(&self, width: Option<BitWidth>) {
        if let Some(width) = width {
            // Checks the number of bits.
            width.codes();
        }
        self.update(|state| state.width = width);
    }

    /// Sets the current training step, so that each step and each layer has its own random numbers; see
    /// [`NoiseConfig`](crate::quant::NoiseConfig).
    pub fn set_step(&self, step: u64) {
        for (layer, control) in self.controls.iter().enumerate() {
            let key = mix(mix(step) ^ layer as u64);
            control.values.update(|state| state.noise_key = key);
        }
    }
}

impl fmt::Display for QuantControls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Named { path, values } in &self.controls {
            let state = values.state();
            write!(f, "{path}: lambda {}", state.lambda)?;
            if let Some(width) = state.width {
                write!(f, ", {width}")?;
            }
            if state.per_channel {
                write!(f, ", per channel")?;
            }
            if state.excluded {
                write!(f, ", excluded")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Returns the module with independent controls: its quantizers keep the current progress, widths and
/// ranges, and no longer change with those of the modules it was cloned from.
///
/// Parameters keep their values and ids. Later clones of it share its controls. A calibration in progress
/// continues only in the other modules.
///
/// # Example
///
/// ```
/// use bitnet_burn::{nn::BitLinearConfig, qat::{QuantControls, detach_controls}};
/// use burn::tensor::Device;
///
/// let student = BitLinearConfig::new(8, 4).init(&Device::default());
/// let teacher = detach_controls(student.clone());
/// QuantControls::of(&teacher).set_lambda(0.0); // full precision
/// assert!(QuantControls::of(&student).lambdas().all(|(_, lambda)| lambda == 1.0));
/// ```
pub fn detach_controls<M: Module>(module: M) -> M {
    module.map(&mut Detach::default())
}

/// Returns the module that a quantizer belongs to, by its path; `model` for the model itself.
pub(in crate::qat) fn layer_of(path: &str) -> &str {
    path.rsplit_once('.').map_or("model", |(layer, _)| layer)
}

/// Returns the path of a quantizer that is a field of a layer, from the path of its control.
fn of_layer(fields: &[Field]) -> String {
    // It ends in `control.state`, and then in the tag of the scheme.
    let own = ["fake_quant", "control", "state"];
    let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    let names = names.split_last().map_or(&names[..], |(_tag, names)| names);
    let names = names.strip_suffix(&own[1..]).unwrap_or(names);
    names.strip_suffix(&own[..1]).unwrap_or(names).join(".")
}

/// Finds the controls of a module by the parameters that represent them in records.
struct Collector(Vec<Named>);

impl PathVisitor for Collector {
    fn visit_int<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D, Int>>) {
        if let Some(values) = ControlValues::of_parameter(param) {
            let path = match path.reparameterized() {
                // A reparameterization, or an adapter in it, belongs to its parameter.
                Some(parameter) => join(parameter),
                None => of_layer(path.fields()),
            };
            self.0.push(Named { path, values });
        }
    }
}
