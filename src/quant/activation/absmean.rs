use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{
    base::bits::deserialize_bits,
    functions::{AffineParams, group_statistic},
    ops::{CodeRange, Statistic},
    quant::{ActivationGranularity, Ste},
};

/// Symmetric quantization of activations by the mean magnitude `beta = max(mean|x|, 1e-5)`:
/// `clamp(round(x * sqrt(max) / beta), -max - 1, max) * beta / sqrt(max)` with
/// `max = 2^(bits-1) - 1`.
///
/// Values beyond `sqrt(max)` mean magnitudes are clamped. Suitable as 4 bits for inputs with few outliers.
/// (The papers add a tiny epsilon to `beta`; here it is a lower bound, as for the other quantizers.)
///
/// Sources: [BitNet a4.8](https://arxiv.org/abs/2411.04965),
/// [BitNet v2](https://arxiv.org/abs/2504.18415).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AbsmeanConfig {
    /// Bits of a code, 2 to 8.
    #[serde(deserialize_with = "deserialize_bits")]
    pub bits: u8,
    /// Values that share a scale.
    pub granularity: ActivationGranularity,
}

impl AbsmeanConfig {
    #[track_caller]
    pub(super) fn fake_quant<const D: usize>(&self, x: Tensor<D>, ste: Ste) -> Tensor<D> {
        let groups = self.granularity.groups(&x.dims());
        let codes = CodeRange::signed(self.bits);
        let beta = group_statistic(x.clone().detach(), groups, Statistic::AbsMean);
        let steps = beta.div_scalar(codes.max.sqrt());
        ste.fake_quant(x, AffineParams::symmetric(steps, groups, codes))
    }
}

impl Default for AbsmeanConfig {
    /// Returns 4 bits per token, as in BitNet a4.8 and v2.
    fn default() -> Self {
        Self {
            bits: 4,
            granularity: ActivationGranularity::PerToken,
        }
    }
}
