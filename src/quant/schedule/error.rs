use crate::base::bounds::OutOfBounds;

/// Error when a schedule is not valid: what is expected, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScheduleError(pub(super) String);

impl From<OutOfBounds> for ScheduleError {
    fn from(error: OutOfBounds) -> Self {
        Self(error.to_string())
    }
}
