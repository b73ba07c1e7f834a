use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{QuantControls, control::Controlled, observer_slot::ObserverState};
use crate::quant::{
    StaticRange,
    calibration::{CalibrationError, CalibrationTable, ObserverConfig, SamplingPolicy},
};

/// Observers of the quantizers of a model by their paths, to resume after an interruption.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObserverStates(BTreeMap<String, ObserverState>);

/// Error when a calibration table does not fit a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CalibrateError(String);

/// Calibration: observes the inputs of the quantizers over some forward passes, computes the ranges, and
/// sets them on the static quantizers.
///
/// ```
/// use bitnet_burn::{
///     nn::BitLinearConfig,
///     qat::QuantControls,
///     quant::{ActivationQuantizer, QatScheme, calibration::{ObserverConfig, SamplingPolicy}},
/// };
/// use burn::tensor::{Device, Distribution, Tensor};
///
/// let device = Device::default();
/// let quantizer = ActivationQuantizer::Static { bits: 8, symmetric: true };
/// let scheme = QatScheme::b1_58().with_activation(Some(quantizer));
/// let layer = BitLinearConfig::new(8, 4).with_scheme(scheme).init(&device);
///
/// let controls = QuantControls::of(&layer).filter(|path| path.ends_with("input_quant"));
/// controls.observe(&ObserverConfig::min_max(), SamplingPolicy::default());
/// for _ in 0..4 {
///     layer.forward(Tensor::<2>::random([16, 8], Distribution::Default, &device));
/// }
/// let table = controls.finish_observation()?; // `table.save(file)` keeps it
/// controls.calibrate(&table)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl QuantControls {
    /// Starts to observe the values that each quantizer quantizes, in every forward pass of any clone that
    /// is selected by the policy. Weights are observed in their latent form.
    ///
    /// # Panics
    ///
    /// If a field of the observer is out of its range.
    #[track_caller]
    pub fn observe(&self, observer: &ObserverConfig, policy: SamplingPolicy) {
        self.start(&ObserverState::new(observer, policy, false));
    }

    /// Applies [`observe`](Self::observe) only to the forward passes of a training, on a device with
    /// autodiff: values of a validation or an inference are not observed.
    ///
    /// # Panics
    ///
    /// If a field of the observer is out of its range.
    #[track_caller]
    pub fn observe_training(&self, observer: &ObserverConfig, policy: SamplingPolicy) {
        self.start(&ObserverState::new(observer, policy, true));
    }

    fn start(&self, state: &ObserverState) {
        for (_, values) in self.iter() {
            values.observer.start(state.clone());
        }
    }

    /// Computes a forward pass that repeats one whose values were observed.
    pub(crate) fn unobserved<T>(&self, pass: impl FnOnce() -> T) -> T {
        let repeat = Repeat::begin(self);
        let result = pass();
        drop(repeat);
        result
    }

    /// Returns the observations so far; observing continues.
    pub fn observations(&self) -> ObserverStates {
        let observed = self
            .iter()
            .filter_map(|(path, values)| Some((path.to_string(), values.observer.state()?)));
        ObserverStates(observed.collect())
    }

    /// Returns whether a quantizer is observed.
    pub fn is_observing(&self) -> bool {
        self.iter().any(|(_, values)| values.observer.is_active())
    }

    /// Resumes observations of the quantizers with the same paths.
    pub fn resume_observations(&self, mut states: ObserverStates) {
        for (path, values) in self.iter() {
            if let Some(state) = states.0.remove(path) {
                values.observer.start(state);
            }
        }
    }

    /// Ends the observation and returns the ranges, by the paths of the quantizers.
    ///
    /// # Errors
    ///
    /// If a quantizer observed nothing, or values that are not finite, or a tensor could not be
    /// read back from its device.
    pub fn finish_observation(&self) -> Result<CalibrationTable, CalibrationError> {
        let mut table = CalibrationTable::default();
        // All observations end, also if one of them returns an error.
        let observers: Vec<_> = self
            .iter()
            .map(|(path, values)| (path, values.observer.finish()))
            .collect();
        for (path, observer) in observers {
            match observer {
                Some(Ok(observer)) => table.insert(path, &observer)?,
                Some(Err(source)) => {
                    let path = path.to_string();
                    let source = Box::new(source);
                    return Err(CalibrationError::NoRange { path, source });
                }
                None => {}
            }
        }
        Ok(table)
    }

    /// Sets ranges on the static activation quantizers, which use them from the next forward pass on. The
    /// ranges are part of the records of the model.
    ///
    /// # Errors
    ///
    /// If there is no static quantizer, or the table has no range for the whole tensor for one of
    /// them. Nothing is changed then.
    pub fn calibrate(&self, table: &CalibrationTable) -> Result<(), CalibrateError> {
        let mut ranges = Vec::new();
        let mut missing = Vec::new();
        for (path, values) in self.iter() {
            let Controlled::Activation(Some(config)) = &values.controlled else {
                continue;
            };
            let Some(entry) = table.get(path) else {
                missing.push(path);
                continue;
            };
            let params = entry.range.static_params(config.bits, config.mapping());
            let ([step], [zero_point]) = (&params.step[..], &params.zero_point[..]) else {
                return Err(CalibrateError(format!(
                    "the range of {path} has {} channels, a static quantizer has one for the whole \
                     tensor",
                    params.step.len()
                )));
            };
            let (step, zero_point) = (*step, *zero_point);
            ranges.push((values, StaticRange { step, zero_point }));
        }
        if !missing.is_empty() {
            return Err(CalibrateError(format!(
                "the calibration table has no range for {}",
                missing.join(", ")
            )));
        }
        if ranges.is_empty() {
            return Err(CalibrateError(
                "no activation of the model is quantized statically: use `ActivationQuantizer::Static` in its \
                 scheme"
                    .to_string(),
            ));
        }
        for (values, range) in ranges {
            values.update(|state| state.range = Some(range));
        }
        Ok(())
    }
}

/// A pass that is not observed, until it is dropped.
struct Repeat<'a>(&'a QuantControls);

impl<'a> Repeat<'a> {
    fn begin(controls: &'a QuantControls) -> Self {
        for (_, values) in controls.iter() {
            values.observer.begin_repeat();
        }
        Self(controls)
    }
}

impl Drop for Repeat<'_> {
    fn drop(&mut self) {
        for (_, values) in self.0.iter() {
            values.observer.end_repeat();
        }
    }
}
