use core::fmt;

/// Why a schedule cannot be.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The schedule ends before it starts.
    EndBeforeStart {
        /// First step of the ramp.
        start: usize,
        /// Step from which the value is 1.
        end: usize,
    },
    /// The value before the ramp is not in [0, 1].
    Initial(f64),
    /// The steepness of a shape is not in [0.001, 1000].
    Steepness(f64),
    /// A staircase without stairs.
    NoStairs,
    /// A boundary between stairs is not in (0, 1) or not larger than the one before.
    Boundary {
        /// Number of the boundary, from 0.
        index: usize,
        /// The boundary.
        at: f64,
    },
    /// A schedule of bit widths without stages.
    NoStages,
    /// The first stage of bit widths does not start at step 0.
    FirstStage {
        /// Step that it starts at.
        from_step: usize,
    },
    /// A stage of bit widths does not start after the one before.
    StageOrder {
        /// Number of the stage, from 0.
        index: usize,
        /// Step that it starts at.
        from_step: usize,
        /// Step that the one before starts at.
        previous: usize,
    },
    /// A code of so many bits is not supported.
    Bits(u8),
    /// The overlap of neighbouring layers is not in [0, 1].
    Overlap(f64),
    /// The sensitivity of a layer is not a finite number.
    Sensitivity {
        /// Name of the layer.
        layer: String,
        /// Its score.
        score: f64,
    },
    /// Two layers of the model have one name.
    RepeatedLayers(Vec<String>),
    /// The names in the order are not those of the layers.
    LayerNames {
        /// Names in the order that no layer has.
        unknown: Vec<String>,
        /// Layers that the order does not name.
        missing: Vec<String>,
        /// Names that the order has more than once.
        repeated: Vec<String>,
    },
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndBeforeStart { start, end } => {
                write!(f, "a schedule from {start} to {end} ends before it starts")
            }
            Self::Initial(initial) => {
                write!(f, "the initial value lies in [0, 1], got {initial}")
            }
            Self::Steepness(k) => write!(f, "the steepness k lies in [0.001, 1000], got {k}"),
            Self::NoStairs => write!(f, "a staircase has at least one stair, got 0"),
            Self::Boundary { index, at } => write!(
                f,
                "boundaries between stairs increase and lie in (0, 1), boundary {index} is {at}"
            ),
            Self::NoStages => write!(f, "a schedule of bit widths has at least one stage, got 0"),
            Self::FirstStage { from_step } => write!(
                f,
                "the first stage of bit widths starts at step 0, got {from_step}"
            ),
            Self::StageOrder {
                index,
                from_step,
                previous,
            } => write!(
                f,
                "stages of bit widths start one after the other, stage {index} starts at step \
                 {from_step} and the one before at {previous}"
            ),
            Self::Bits(bits) => write!(f, "codes have 2 to 8 bits, got {bits}"),
            Self::Overlap(overlap) => {
                write!(f, "the overlap of layers lies in [0, 1], got {overlap}")
            }
            Self::Sensitivity { layer, score } => write!(
                f,
                "the sensitivity of layer {layer} is no finite number: {score}"
            ),
            Self::RepeatedLayers(names) => {
                write!(f, "more than one layer has the name {}", names.join(", "))
            }
            Self::LayerNames {
                unknown,
                missing,
                repeated,
            } => {
                write!(f, "the order of layers does not name each layer once")?;
                for (what, names) in [
                    ("unknown", unknown),
                    ("missing", missing),
                    ("repeated", repeated),
                ] {
                    if !names.is_empty() {
                        write!(f, "; {what}: {}", names.join(", "))?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl core::error::Error for ScheduleError {}
