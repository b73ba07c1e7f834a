use burn::module::Module;

use crate::qat::QuantControls;

/// Controls that are not of the model that trains: what a callback sets by them, nothing reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignControls {
    /// There is no quantizer among them.
    #[error(
        "expected controls of the model that trains, found none: it has no such quantizers, or was \
         prepared after its controls were taken"
    )]
    Empty,
    /// There are quantizers among them that are not in the model.
    #[error(
        "expected controls of the model that trains, found those of another model: take them by \
         QuantControls::of after the model was prepared, detached or loaded"
    )]
    OtherModel,
}

impl ForeignControls {
    /// Compares controls with those of a model.
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
