//! Biases that finetune trains as BitFit, and saves as a part of the model.

use bitnet_burn::{
    interop::hf,
    nn::{BitNetLm, BitNetLmConfig, ProjectionBias},
    peft::{AdapterBase, BitFitConfig, TargetModules},
};

use crate::error::Failure;

/// Returns the projections that are trained if none are named: all, or those of the attention where a folder has no place for
/// other biases, as of BitNet models.
pub fn default_targets(model: &BitNetLmConfig) -> TargetModules {
    let all = ProjectionBias::new(true, true, true);
    match hf::place_for_biases(model, all) {
        Ok(_) => TargetModules::AllLinear,
        Err(_) => TargetModules::names(["q_proj", "k_proj", "v_proj", "o_proj"]),
    }
}

/// Returns the biases of the model that is saved after a training.
pub fn biases<P: AdapterBase>(
    config: &BitFitConfig,
    lm: &BitNetLm<P>,
    model: &BitNetLmConfig,
) -> Result<ProjectionBias, Failure> {
    let biases = hf::place_for_biases(model, config.biases(lm)?);
    biases.map_err(|error| {
        Failure::usage(format!(
            "{config} trains biases that no folder of the model can hold: {error}; choose projections of the \
             attention (--target q_proj k_proj v_proj o_proj), or another method, such as --peft ia3"
        ))
    })
}
