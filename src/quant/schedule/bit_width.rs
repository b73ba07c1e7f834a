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
/// # Ok::<(), bitnet_burn::quant::schedule::ScheduleError>(())
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
        let from_step = stages.first().ok_or(ScheduleError::NoStages)?.from_step;
        if from_step != 0 {
            return Err(ScheduleError::FirstStage { from_step });
        }
        for (index, pair) in stages.windows(2).enumerate() {
            let [previous, from_step] = [pair[0].from_step, pair[1].from_step];
            if from_step <= previous {
                return Err(ScheduleError::StageOrder {
                    index: index + 1,
                    from_step,
                    previous,
                });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_is_that_of_the_last_stage_that_started() {
        let stages = [
            (0, BitWidth::Bits(8)),
            (10, BitWidth::Bits(4)),
            (11, BitWidth::Bits(2)),
            (50, BitWidth::Ternary),
        ];
        let schedule = BitWidthSchedule::new(stages).unwrap();
        for step in 0..100 {
            // By the definition, over all stages.
            let mut started = stages.iter().filter(|(from, _)| *from <= step);
            assert_eq!(schedule.value(step), started.next_back().unwrap().1);
        }
        assert_eq!(schedule.value(usize::MAX), BitWidth::Ternary);
    }

    #[test]
    fn json_is_the_list_of_stages() {
        let schedule =
            BitWidthSchedule::new([(0, BitWidth::Bits(8)), (5, BitWidth::Ternary)]).unwrap();
        let json = serde_json::to_value(&schedule).unwrap();
        let expected = serde_json::json!([
            {"from_step": 0, "width": {"bits": 8}},
            {"from_step": 5, "width": "ternary"},
        ]);
        assert_eq!(json, expected);
        let read: BitWidthSchedule = serde_json::from_value(json).unwrap();
        assert_eq!(read, schedule);
    }

    #[test]
    fn what_cannot_be_is_refused_when_read() {
        for (json, message) in [
            ("[]", "at least one stage, got 0"),
            (
                r#"[{"from_step": 1, "width": "ternary"}]"#,
                "at step 0, got 1",
            ),
            (
                r#"[{"from_step": 0, "width": "ternary"}, {"from_step": 7, "width": {"bits": 4}},
                    {"from_step": 7, "width": {"bits": 2}}]"#,
                "stage 2 starts at step 7 and the one before at 7",
            ),
            (
                r#"[{"from_step": 0, "width": {"bits": 1}}]"#,
                "bits must be 2 to 8, got 1",
            ),
            (
                r#"[{"from_step": 0, "width": {"bits": 9}}]"#,
                "bits must be 2 to 8, got 9",
            ),
            (
                r#"[{"from_step": 0, "width": "float"}]"#,
                "unknown variant `float`",
            ),
            (
                r#"[{"step": 0, "width": "ternary"}]"#,
                "unknown field `step`",
            ),
        ] {
            let error = serde_json::from_str::<BitWidthSchedule>(json).unwrap_err();
            assert!(error.to_string().contains(message), "{json}: {error}");
        }
    }
}
