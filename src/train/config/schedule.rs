use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    base::bounds::OutOfBounds,
    qat::QuantControls,
    quant::{
        calibration::{ObserverConfig, SamplingPolicy},
        schedule::{BitWidthSchedule, LayerwiseConfig, ProgressiveSchedule},
    },
    train::callback::Calibration,
};

/// Schedules of quantization over the optimizer steps.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Strength of quantization of all quantizers; if absent, they quantize in full from the first
    /// step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progressive: Option<ProgressiveSchedule>,
    /// Strength of quantization of each layer, in place of `progressive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layerwise: Option<LayerwiseConfig>,
    /// Bit width of weight codes; that of the scheme if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_width: Option<BitWidthSchedule>,
}

/// Configuration of the observation of activations, which fixes their ranges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationConfig {
    /// First observed optimizer step.
    pub start: usize,
    /// First step after the observation, from which the ranges are fixed.
    pub end: usize,
    /// Observer of the activations.
    #[serde(default = "min_max")]
    pub observer: ObserverConfig,
    /// Selection of the observed forward passes.
    #[serde(default)]
    pub sampling: SamplingPolicy,
    /// File to which the ranges are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

fn min_max() -> ObserverConfig {
    ObserverConfig::min_max()
}

impl ScheduleConfig {
    pub(super) fn validate(&self) -> Result<(), OutOfBounds> {
        OutOfBounds::unless(
            self.progressive.is_none() || self.layerwise.is_none(),
            "schedule.layerwise",
            "absent where schedule.progressive is given",
            "both",
        )
    }
}

impl CalibrationConfig {
    pub(super) fn calibration(&self, controls: QuantControls) -> Calibration {
        let calibration = Calibration::new(controls, self.observer.clone(), self.start, self.end);
        let calibration = calibration.with_policy(self.sampling);
        match &self.file {
            Some(path) => calibration.with_file(path),
            None => calibration,
        }
    }

    pub(super) fn validate(&self) -> Result<(), OutOfBounds> {
        let expected = format!("above calibration.start, which is {}", self.start);
        OutOfBounds::unless(
            self.start < self.end,
            "calibration.end",
            &expected,
            self.end,
        )?;
        let observer = self.observer.validate();
        observer.map_err(|error| error.within("calibration.observer"))
    }
}
