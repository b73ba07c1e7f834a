use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    base::bounds::OutOfBounds,
    quant::{
        calibration::{ObserverConfig, SamplingPolicy},
        schedule::{BitWidthSchedule, LayerwiseConfig, ProgressiveSchedule},
    },
};

/// How quantisation changes over the optimizer steps.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// How far all quantisers quantise; absent to quantise in full from the first step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progressive: Option<ProgressiveSchedule>,
    /// How far each layer quantises, in place of `progressive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layerwise: Option<LayerwiseConfig>,
    /// The width of weight codes; absent for that of the scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_width: Option<BitWidthSchedule>,
}

/// When activations are observed, and how, to fix their ranges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationConfig {
    /// First optimizer step that is observed.
    pub start: usize,
    /// The step after the last one, from which the ranges are fixed.
    pub end: usize,
    /// What is kept of what is observed.
    #[serde(default = "min_max")]
    pub observer: ObserverConfig,
    /// Which of the forward passes are observed.
    #[serde(default)]
    pub sampling: SamplingPolicy,
    /// File that the ranges are written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

fn min_max() -> ObserverConfig {
    crate::quant::calibration::MinMaxConfig::default().into()
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
