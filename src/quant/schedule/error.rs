use crate::base::bounds::OutOfBounds;

/// Error when a schedule is not valid.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The schedule ends before it starts.
    #[error("a schedule from {start} to {end} ends before it starts")]
    EndBeforeStart {
        /// First step of the ramp.
        start: usize,
        /// Step from which the value is 1.
        end: usize,
    },
    /// A number is out of its bounds.
    #[error(transparent)]
    Number(#[from] OutOfBounds),
    /// A boundary between stairs is not in (0, 1) or not larger than the previous one.
    #[error("boundaries between stairs increase and lie in (0, 1), boundary {index} is {at}")]
    Boundary {
        /// Number of the boundary, from 0.
        index: usize,
        /// The boundary.
        at: f64,
    },
    /// A schedule of bit widths without stages.
    #[error("a schedule of bit widths has at least one stage, got 0")]
    NoStages,
    /// The first stage of bit widths does not start at step 0.
    #[error("the first stage of bit widths starts at step 0, got {from_step}")]
    FirstStage {
        /// Step that it starts at.
        from_step: usize,
    },
    /// A stage of bit widths does not start after the previous one.
    #[error(
        "stages of bit widths start one after the other, stage {index} starts at step {from_step} \
         and the one before at {previous}"
    )]
    StageOrder {
        /// Number of the stage, from 0.
        index: usize,
        /// Step that it starts at.
        from_step: usize,
        /// Step at which the previous one starts.
        previous: usize,
    },
    /// The sensitivity of a layer is not a finite number.
    #[error("the sensitivity of layer {layer} is no finite number: {score}")]
    Sensitivity {
        /// Name of the layer.
        layer: String,
        /// Its score.
        score: f64,
    },
    /// Two layers of the model have the same name.
    #[error("more than one layer has the name {}", .0.join(", "))]
    RepeatedLayers(Vec<String>),
    /// The names in the order are not those of the layers.
    #[error(
        "the order of layers does not name each layer once{}",
        differences(.unknown, .missing, .repeated)
    )]
    LayerNames {
        /// Names in the order that are not layers.
        unknown: Vec<String>,
        /// Layers missing from the order.
        missing: Vec<String>,
        /// Names that occur more than once in the order.
        repeated: Vec<String>,
    },
}

/// Describes the nonempty lists.
fn differences(unknown: &[String], missing: &[String], repeated: &[String]) -> String {
    [
        ("unknown", unknown),
        ("missing", missing),
        ("repeated", repeated),
    ]
    .iter()
    .filter(|(_, names)| !names.is_empty())
    .map(|(what, names)| format!("; {what}: {}", names.join(", ")))
    .collect()
}
