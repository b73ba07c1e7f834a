//! Scales whose reciprocal is not exact.

use std::collections::BTreeMap;

use super::{ScaleConvention, checkpoint::Checkpoint};

/// Entry of the `__metadata__` of files of this crate.
const KEY: &str = "bitnet_burn.gamma";

/// Scales of codes, as the bits of an f32 by the name of the weight, where `weight_scale` does not tell
/// them: the reciprocal of a reciprocal can be a rounding error away from what was written.
#[derive(Debug, Default)]
pub(super) struct ExactScales(BTreeMap<String, u32>);

impl ExactScales {
    /// Scales that a folder has.
    pub fn read(checkpoint: &Checkpoint) -> Self {
        let of_files = checkpoint.metadata(KEY);
        let scales = of_files.filter_map(|json| serde_json::from_str(json).ok());
        Self(scales.flat_map(|scales: BTreeMap<_, _>| scales).collect())
    }

    /// The scale of the codes of a weight whose `weight_scale` is given.
    pub fn gamma(&self, weight: &str, convention: ScaleConvention, weight_scale: f32) -> f32 {
        let exact = self.0.get(weight).map(|bits| f32::from_bits(*bits));
        // Who changed the weights since has changed the scale.
        let same = |exact: &f32| convention.weight_scale(*exact) == weight_scale;
        exact.filter(same).unwrap_or(convention.gamma(weight_scale))
    }

    /// Adds a scale, where it takes an entry.
    pub fn insert(&mut self, weight: &str, convention: ScaleConvention, gamma: f32) {
        if convention.gamma(convention.weight_scale(gamma)) != gamma {
            self.0.insert(weight.to_string(), gamma.to_bits());
        }
    }

    /// Entry for a file, of those weights that are in it.
    pub fn entry<'a>(&self, weights: impl Iterator<Item = &'a str>) -> Option<(String, String)> {
        let scales = weights.filter_map(|weight| self.0.get_key_value(weight));
        let scales: BTreeMap<_, _> = scales.collect();
        let json = serde_json::json!(scales).to_string();
        (!scales.is_empty()).then(|| (KEY.to_string(), json))
    }
}
