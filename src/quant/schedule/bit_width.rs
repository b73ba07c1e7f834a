use serde::{Deserialize, Serialize};

use super::ScheduleError;
use crate::quant::BitWidth;

/// A width of codes and the step at which it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BitWidthStage {
    /// First step of the stage.
    pub from_step: usize,
    /// Width of the codes from that step on.
    pub width: BitWidth,
}

/// Schedule of bit widths: annealing such as 8 bits, 4 bits, 2 bits, ternary.
///
/// The width at a step is that of the last stage whose `from_step` is not after it. The unit of steps is
/// the caller's. Widths may also grow, as in cyclic precision training.
///
/// # Example
///
/// ```
/// use bitnet_burn::quant::{BitWidth, schedule::BitWidthSchedule};
///
/// let width = BitWidthSchedule::new([
///     (0, BitWidth::Bits(8)),
///     (1000, BitWidth::Bits(4)),
///     (2000, BitWidth::Ternary),
/// ])?;
/// assert_eq!(width.value(999), BitWidth::Bits(8));
/// assert_eq!(width.value(1000), BitWidth::Bits(4));
/// assert_eq!(width.value(5000), BitWidth::Ternary);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<BitWidthStage>", into = "Vec<BitWidthStage>")]
pub struct BitWidthSchedule {
    stages: Vec<BitWidthStage>,
}

impl BitWidthSchedule {
    /// Creates a schedule from `(from_step, width)`.
    ///
    /// # Errors
    ///
    /// If there is no stage, the first does not start at step 0, another does not start after the previous
    /// one, or a width is not in 2..=8 bits.
    pub fn new(stages: impl IntoIterator<Item = (usize, BitWidth)>) -> Result<Self, ScheduleError> {
        let stage = |(from_step, width)| BitWidthStage { from_step, width };
        Self::try_from(stages.into_iter().map(stage).collect::<Vec<_>>())
    }

    /// Returns the width at a step.
    pub fn value(&self, step: usize) -> BitWidth {
        let started = self.stages.partition_point(|stage| stage.from_step <= step);
        self.stages[started - 1].width
    }

    /// Returns the stages, in the order of their steps.
    pub fn stages(&self) -> &[BitWidthStage] {
        &self.stages
    }
}

impl TryFrom<Vec<BitWidthStage>> for BitWidthSchedule {
    type Error = ScheduleError;

    fn try_from(stages: Vec<BitWidthStage>) -> Result<Self, ScheduleError> {
        let Some(first) = stages.first() else {
            let message = "a schedule of bit widths has at least one stage, got 0";
            return Err(ScheduleError(message.to_string()));
        };
        if first.from_step != 0 {
            return Err(ScheduleError(format!(
                "the first stage of bit widths starts at step 0, got {}",
                first.from_step
            )));
        }
        for (index, pair) in stages.windows(2).enumerate() {
            let [previous, from_step] = [pair[0].from_step, pair[1].from_step];
            if from_step <= previous {
                return Err(ScheduleError(format!(
                    "stages of bit widths start one after the other, stage {} starts at step \
                     {from_step} and the one before at {previous}",
                    index + 1
                )));
            }
        }
        for stage in &stages {
            stage.width.validate()?;
        }
        Ok(Self { stages })
    }
}

impl From<BitWidthSchedule> for Vec<BitWidthStage> {
    fn from(schedule: BitWidthSchedule) -> Self {
        schedule.stages
    }
}
