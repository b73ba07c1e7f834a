use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{QuantControls, observation::Seen};
use crate::quant::{
    StaticRange,
    calibration::{CalibrationTable, ObserverConfig, SamplingPolicy, TableError},
};

/// What quantisers have observed so far, to go on with after a break.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObservationState {
    /// By the paths of the quantisers.
    observations: BTreeMap<String, Seen>,
}

/// Error when a calibration table does not fit a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrateError {
    /// Static quantisers for which the table has no range.
    #[error("the calibration table has no range for {}", .paths.join(", "))]
    Missing {
        /// Their paths.
        paths: Vec<String>,
    },
    /// A range with several channels, where a static quantiser has one for the whole tensor.
    #[error(
        "the range of {path} has {channels} channels, a static quantizer has one for the whole \
         tensor"
    )]
    Channels {
        /// Path of the quantiser.
        path: String,
        /// Number of channels of the range.
        channels: usize,
    },
    /// The model has no static quantiser.
    #[error("no activation of the model is quantized statically: use `StaticConfig` in its scheme")]
    NoStaticQuantizer,
}

/// Calibration: observe the inputs of the quantisers over some forward passes, take the ranges, and
/// freeze them into the static quantisers.
///
/// ```
/// use bitnet_burn::{
///     nn::BitLinearConfig,
///     qat::QuantControls,
///     quant::{QatScheme, StaticConfig, calibration::{MinMaxConfig, SamplingPolicy}},
/// };
/// use burn::tensor::{Device, Distribution, Tensor};
///
/// let device = Device::default();
/// let scheme = QatScheme::b1_58().with_activation(Some(StaticConfig::default().into()));
/// let layer = BitLinearConfig::new(8, 4).with_scheme(scheme).init(&device);
///
/// let controls = QuantControls::of(&layer).filter(|path| path.ends_with("input_quant"));
/// controls.observe(&MinMaxConfig::default().into(), SamplingPolicy::default());
/// for _ in 0..4 {
///     layer.forward(Tensor::<2>::random([16, 8], Distribution::Default, &device));
/// }
/// let table = controls.finish_observation()?; // `table.save(file)` keeps it
/// controls.calibrate(&table)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl QuantControls {
    /// Starts to observe what each quantiser quantises: in every forward pass from now on, on any
    /// clone, that the policy takes. Weights are observed in their latent form.
    ///
    /// # Panics
    ///
    /// If a field of the observer is out of its range.
    #[track_caller]
    pub fn observe(&self, observer: &ObserverConfig, policy: SamplingPolicy) {
        for (_, values) in self.iter() {
            values.observation.start(observer, policy, false);
        }
    }

    /// [`observe`](Self::observe) for the forward passes of a training alone, on a device with
    /// autodiff: what a validation or a prediction passes through the model is not observed.
    ///
    /// # Panics
    ///
    /// If a field of the observer is out of its range.
    #[track_caller]
    pub fn observe_training(&self, observer: &ObserverConfig, policy: SamplingPolicy) {
        for (_, values) in self.iter() {
            values.observation.start(observer, policy, true);
        }
    }

    /// What has been observed so far; the observation goes on.
    pub fn observations(&self) -> ObservationState {
        let seen = |(path, values): (&str, &super::control::ControlValues)| {
            Some((path.to_string(), values.observation.seen()?))
        };
        ObservationState {
            observations: self.iter().filter_map(seen).collect(),
        }
    }

    /// Whether a quantizer is observed.
    pub fn is_observing(&self) -> bool {
        self.iter()
            .any(|(_, values)| values.observation.is_active())
    }

    /// Goes on with observations where they stood, of the quantisers with the same paths.
    pub fn resume_observations(&self, mut state: ObservationState) {
        for (path, values) in self.iter() {
            if let Some(seen) = state.observations.remove(path) {
                values.observation.resume(seen);
            }
        }
    }

    /// Ends the observation and gives the ranges, by the paths of the quantisers.
    ///
    /// # Errors
    ///
    /// If a quantiser observed nothing, or values that are not finite, or a tensor could not be
    /// read from its device.
    pub fn finish_observation(&self) -> Result<CalibrationTable, TableError> {
        let mut table = CalibrationTable::default();
        // All observations end, also where one of them gives an error.
        let observers: Vec<_> = self
            .iter()
            .map(|(path, values)| (path, values.observation.finish()))
            .collect();
        for (path, observer) in observers {
            match observer {
                Some(Ok(observer)) => table.insert(path, &observer)?,
                Some(Err(source)) => {
                    let path = path.to_string();
                    return Err(TableError::NoRange { path, source });
                }
                None => {}
            }
        }
        Ok(table)
    }

    /// Freezes ranges into the static activation quantisers, whose values they have from the next
    /// forward pass on. The ranges are part of the records of the model.
    ///
    /// # Errors
    ///
    /// If there is no static quantiser, or the table has no range for the whole tensor for one of
    /// them; then nothing is changed.
    pub fn calibrate(&self, table: &CalibrationTable) -> Result<(), CalibrateError> {
        let mut ranges = Vec::new();
        let mut missing = Vec::new();
        for (path, values) in self.iter() {
            let Some(config) = &values.static_config else {
                continue;
            };
            let Some(entry) = table.get(path) else {
                missing.push(path.to_string());
                continue;
            };
            let params = entry.range.static_params(config.bits, config.mapping());
            let ([step], [zero_point]) = (&params.step[..], &params.zero_point[..]) else {
                let (path, channels) = (path.to_string(), params.step.len());
                return Err(CalibrateError::Channels { path, channels });
            };
            let (step, zero_point) = (*step, *zero_point);
            ranges.push((values, StaticRange { step, zero_point }));
        }
        if !missing.is_empty() {
            return Err(CalibrateError::Missing { paths: missing });
        }
        if ranges.is_empty() {
            return Err(CalibrateError::NoStaticQuantizer);
        }
        for (values, range) in ranges {
            values.set_range(Some(range));
        }
        Ok(())
    }
}
