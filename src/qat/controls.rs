use core::fmt;
use std::sync::Arc;

use burn::{
    module::{Module, Param},
    tensor::{Int, Tensor},
};

use super::{
    QuantizerSettings,
    control::{ControlKind, ControlValues, Detach, QuantControl, Setting},
};
use crate::{
    base::{
        bounds::Bounds,
        path_visitor::{ModulePath, PathVisitor, visit_paths},
        random::mix,
    },
    quant::BitWidth,
};

/// What schedules set on the quantisers of a model while it trains.
///
/// Found once, it stays connected to the model: to all its clones, forks on other devices, and what
/// an optimizer makes of it. A change takes effect at the next forward pass and is part of the
/// records of the model.
///
/// # Clones
///
/// A clone of a model has the same controls, so that a schedule reaches the copies that a training
/// makes: for validation, on other devices, [in other types](crate::optim::MixedPrecision). A clone that
/// is another model, such as a teacher that was made of its student, changes with it, too;
/// [`detach_controls`] gives it controls of its own.
///
/// Loading a record sets them, too, in all clones, and also what there is in a record that is refused in the end:
/// Burn checks it after it has loaded it. Load into a [detached](detach_controls) clone to keep a model as it is.
///
/// The path of a quantiser is that of its parameter or module: `layers.0.fc.weight` for a prepared
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
/// controls.set_lambda(1.0); // quantised
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
    /// The controls of all quantisers of a module, in the order in which it declares them.
    pub fn of<M: Module>(module: &M) -> Self {
        let mut collector = Collector(Vec::new());
        visit_paths(module, &mut collector);
        Self {
            controls: collector.0,
        }
    }

    /// Whether a quantizer of these and one of the others are controlled together, as those of a
    /// module and its clones are.
    pub fn shares_with(&self, others: &Self) -> bool {
        self.controls.iter().any(|own| others.has(own))
    }

    /// Whether each quantizer of these is controlled together with one of the others, as those of a part
    /// of a model are.
    pub fn is_part_of(&self, others: &Self) -> bool {
        self.controls.iter().all(|own| others.has(own))
    }

    fn has(&self, other: &Named) -> bool {
        let mut own = self.controls.iter();
        own.any(|own| Arc::ptr_eq(&own.values, &other.values))
    }

    /// Number of quantisers.
    pub fn len(&self) -> usize {
        self.controls.len()
    }

    /// Whether the module has no quantisers.
    pub fn is_empty(&self) -> bool {
        self.controls.is_empty()
    }

    /// Paths of the quantisers.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.controls.iter().map(|control| control.path.as_str())
    }

    /// What each quantizer was made for, with its path.
    pub fn quantizers(&self) -> impl Iterator<Item = (&str, &QuantizerSettings)> {
        self.iter().map(|(path, values)| (path, &values.settings))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &ControlValues)> {
        self.controls
            .iter()
            .map(|control| (control.path.as_str(), &*control.values))
    }

    /// Those whose path fulfils a condition.
    pub fn filter(&self, mut condition: impl FnMut(&str) -> bool) -> Self {
        let controls = self.controls.iter().filter(|c| condition(&c.path));
        Self {
            controls: controls.cloned().collect(),
        }
    }

    /// The quantisers of each layer, in the order of the model: those of the weight and the input of
    /// one module.
    pub fn layers(&self) -> Vec<(String, Self)> {
        let mut layers: Vec<(String, Self)> = Vec::new();
        for control in &self.controls {
            let layer = layer_of(&control.path);
            match layers.iter_mut().find(|(name, _)| name == layer) {
                Some((_, own)) => own.controls.push(control.clone()),
                None => layers.push((
                    layer.to_string(),
                    Self {
                        controls: vec![control.clone()],
                    },
                )),
            }
        }
        layers
    }

    /// Number of weights that the quantizers quantize; those of a shared parameter count once.
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

    /// How far and to which width each quantiser quantises, to [set back](Self::restore) to.
    pub(super) fn settings(&self) -> Vec<Setting> {
        self.controls.iter().map(|c| c.values.setting()).collect()
    }

    pub(super) fn restore(&self, settings: &[Setting]) {
        for (control, setting) in self.controls.iter().zip(settings) {
            control.values.set(*setting);
        }
    }

    /// Sets the share of the quantised value in `x + lambda * (Q(x) - x)`, for weights and
    /// activations.
    ///
    /// # Panics
    ///
    /// If `lambda` is not in 0..=1.
    #[track_caller]
    pub fn set_lambda(&self, lambda: f64) {
        Bounds::FRACTION.assert("lambda", lambda);
        for control in &self.controls {
            control.values.set_lambda(lambda as f32);
        }
    }

    /// Sets the share of each quantiser by its path, as a layer-wise schedule gives it; `None` leaves
    /// one as it is.
    ///
    /// # Panics
    ///
    /// If a value is not in 0..=1.
    #[track_caller]
    pub fn set_lambdas(&self, mut lambda: impl FnMut(&str) -> Option<f64>) {
        for control in &self.controls {
            if let Some(lambda) = lambda(&control.path) {
                Bounds::FRACTION.assert(&format!("lambda of {}", control.path), lambda);
                control.values.set_lambda(lambda as f32);
            }
        }
    }

    /// The share of the quantised value of each quantiser, with its path.
    pub fn lambdas(&self) -> impl Iterator<Item = (&str, f64)> {
        let lambda = |control: &Named| control.values.lambda() as f64;
        self.controls
            .iter()
            .map(move |c| (c.path.as_str(), lambda(c)))
    }

    /// Sets the width of weight codes in place of the configured quantiser; `None` goes back to it.
    ///
    /// # Panics
    ///
    /// If a number of bits is not in 2..=8.
    #[track_caller]
    pub fn set_weight_width(&self, width: Option<BitWidth>) {
        self.set_width(ControlKind::Weight, width);
    }

    /// Sets the bits of activation codes, by absmax per token, in place of the configured
    /// quantiser; `None` goes back to it.
    ///
    /// # Panics
    ///
    /// If the number of bits is not in 2..=8.
    #[track_caller]
    pub fn set_activation_bits(&self, bits: Option<u8>) {
        self.set_width(ControlKind::Activation, bits.map(BitWidth::Bits));
    }

    /// Gives each output channel of the weights its own scale, whatever is configured, or goes back to
    /// that. Trained step sizes keep the granularity that they were made for.
    pub fn set_per_channel(&self, per_channel: bool) {
        let weights = self.controls.iter();
        let weights = weights.filter(|c| c.values.kind == ControlKind::Weight);
        weights.for_each(|control| control.values.set_per_channel(per_channel));
    }

    /// Leaves values in float whatever lambda is, or goes back to quantising them.
    pub fn set_excluded(&self, excluded: bool) {
        for control in &self.controls {
            control.values.set_excluded(excluded);
        }
    }

    fn set_width(&self, kind: ControlKind, width: Option<BitWidth>) {
        if let Some(width) = width {
            // Checks the number of bits.
            width.codes();
        }
        let of_kind = self.controls.iter().filter(|c| c.values.kind == kind);
        of_kind.for_each(|control| control.values.set_width(width));
    }

    /// Says which step is trained, so that each step and each layer has its own random numbers; see
    /// [`NoiseConfig`](crate::quant::NoiseConfig).
    pub fn set_step(&self, step: u64) {
        for (layer, control) in self.controls.iter().enumerate() {
            control.values.set_noise_key(mix(mix(step) ^ layer as u64));
        }
    }
}

impl fmt::Display for QuantControls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Named { path, values } in &self.controls {
            write!(f, "{path}: lambda {}", values.lambda())?;
            if let Some(width) = values.width() {
                write!(f, ", {width}")?;
            }
            if values.per_channel() {
                write!(f, ", per channel")?;
            }
            if values.excluded() {
                write!(f, ", excluded")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The module with controls of its own: its quantizers keep the present progress, widths and ranges,
/// and do not change with those of the modules that it is a clone of, nor these with it.
///
/// Parameters stay what they are, under the same ids. Clones that are made of it afterwards share its
/// controls. A calibration under way goes on in the other modules alone.
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

/// The module that a quantiser belongs to, by its path; `model` for the model itself.
pub(super) fn layer_of(path: &str) -> &str {
    path.rsplit_once('.').map_or("model", |(layer, _)| layer)
}

/// Finds the controls of a module by the parameters that stand for them in records.
struct Collector(Vec<Named>);

impl PathVisitor for Collector {
    fn visit_int<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D, Int>>) {
        if let Some(values) = QuantControl::of_parameter(param) {
            // The way ends in `fake_quant.control.state` for a reparameterization, which belongs to
            // its parameter, else in `control.state`, and then in the tag of the scheme.
            let own = ["fake_quant", "control", "state"];
            let fields = path.fields().iter();
            let names: Vec<&str> = fields.map(|field| field.name.as_str()).collect();
            let names = names.split_last().map_or(&names[..], |(_tag, names)| names);
            let names = names.strip_suffix(&own[1..]).unwrap_or(names);
            let names = names.strip_suffix(&own[..1]).unwrap_or(names);
            self.0.push(Named {
                path: names.join("."),
                values,
            });
        }
    }
}
