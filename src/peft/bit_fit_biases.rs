//! Biases of a model into which a BitFit adapter is merged.

use burn::tensor::Tensor;

use super::{AdapterBase, BitFitConfig, PeftError};
use crate::nn::{BitNetLm, ProjectionBias};

impl BitFitConfig {
    /// Returns the kinds of projections of which one has a bias once the adapter is merged: the targets, and those
    /// that have one already.
    ///
    /// # Errors
    ///
    /// The first pattern that cannot be read.
    pub fn biases<P: AdapterBase>(&self, lm: &BitNetLm<P>) -> Result<ProjectionBias, PeftError> {
        let selection = self.targets.compile(&self.modules_to_save)?;
        let mut biases = ProjectionBias::NONE;
        for (module, base) in lm.projections() {
            if base.bias().is_some() || selection.matches(&module) {
                *kind(&mut biases, &module) = true;
            }
        }
        Ok(biases)
    }
}

impl<P: AdapterBase> BitNetLm<P> {
    /// Adds a bias of 0 to each projection of some kinds that has none, as files have biases of all projections of a
    /// kind or of none.
    #[must_use]
    pub fn with_biases(self, mut biases: ProjectionBias) -> Self {
        let device = self.model.embed_tokens.weight.device();
        self.map_projections(|module, base| {
            if base.bias().is_some() || !*kind(&mut biases, module) {
                return base;
            }
            let [_, d_output] = base.size();
            base.with_bias(Some(Tensor::zeros([d_output], &device)))
        })
    }
}

/// Returns the entry of a projection.
fn kind<'a>(biases: &'a mut ProjectionBias, module: &str) -> &'a mut bool {
    match module.rsplit('.').next() {
        Some("q_proj" | "k_proj" | "v_proj") => &mut biases.qkv,
        Some("o_proj") => &mut biases.output,
        _ => &mut biases.feed_forward,
    }
}
