use burn::module::Module;

use crate::qat::QuantControls;

/// Error of controls that do not belong to the trained model; settings by them would have no
/// effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignControls {
    /// They contain no quantizer.
    #[error(
        "expected controls of the model that trains, found none: it has no such quantizers, or was \
         prepared after its controls were taken"
    )]
    Empty,
    /// They contain quantizers that are not in the model.
    #[error(
        "expected controls of the model that trains, found those of another model: take them by \
         QuantControls::of after the model was prepared, detached or loaded"
    )]
    OtherModel,
}

impl ForeignControls {
    /// Checks that controls belong to a model.
    pub(super) fn check<M: Module>(controls: &QuantControls, model: &M) -> Result<(), Self> {
        if controls.is_empty() {
            return Err(Self::Empty);
        }
        match controls.is_part_of(&QuantControls::of(model)) {
            true => Ok(()),
            false => Err(Self::OtherModel),
        }
    }
}
