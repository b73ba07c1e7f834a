//! Numbers that those of a file do not tell to the last bit.

use std::collections::BTreeMap;

use super::{ScaleConvention, checkpoint::Checkpoint, scaled_bias};

/// Entry of scales in the `__metadata__` of files of this crate.
const SCALES: &str = "bitnet_burn.gamma";
/// Entry of biases.
const BIASES: &str = "bitnet_burn.bias";

/// Scales of codes and values of biases, as the bits of an f32 by the name of the tensor, where a file does not tell them:
/// the reciprocal of a reciprocal can be a rounding error away from what was written, and so can the product of a
/// quotient.
#[derive(Debug, Default)]
pub(super) struct ExactValues {
    scales: BTreeMap<String, u32>,
    /// By their places.
    biases: BTreeMap<String, BTreeMap<usize, u32>>,
}

impl ExactValues {
    /// Values that a folder has.
    pub fn read(checkpoint: &Checkpoint) -> Self {
        let scales = checkpoint.metadata(SCALES);
        let scales = scales.filter_map(|json| serde_json::from_str(json).ok());
        let biases = checkpoint.metadata(BIASES);
        let biases = biases.filter_map(|json| serde_json::from_str(json).ok());
        Self {
            scales: scales.flat_map(|of: BTreeMap<_, _>| of).collect(),
            biases: biases.flat_map(|of: BTreeMap<_, _>| of).collect(),
        }
    }

    /// The scale of the codes of a weight whose `weight_scale` is given.
    pub fn gamma(&self, weight: &str, convention: ScaleConvention, weight_scale: f32) -> f32 {
        let exact = self.scales.get(weight).map(|bits| f32::from_bits(*bits));
        // Who changed the weights since has changed the scale.
        let same = |exact: &f32| convention.weight_scale(*exact) == weight_scale;
        exact.filter(same).unwrap_or(convention.gamma(weight_scale))
    }

    /// The values of a bias of numbers in a file.
    pub fn bias(&self, name: &str, numbers: impl Iterator<Item = f32>, scale: f32) -> Vec<f32> {
        let exact = self.biases.get(name);
        let exact = |place| Some(f32::from_bits(*exact?.get(&place)?));
        let values = numbers.enumerate().map(|(place, number)| {
            let same = |exact: &f32| scaled_bias::for_file(*exact, scale) == number;
            exact(place).filter(same).unwrap_or(number * scale)
        });
        values.collect()
    }

    /// Adds a scale, where it takes an entry.
    pub fn insert_scale(&mut self, weight: &str, convention: ScaleConvention, gamma: f32) {
        if convention.gamma(convention.weight_scale(gamma)) != gamma {
            self.scales.insert(weight.to_string(), gamma.to_bits());
        }
    }

    /// Adds the values of a bias that take an entry.
    pub fn insert_bias(&mut self, name: &str, values: &[f32], scale: f32) {
        let inexact = values.iter().enumerate();
        let inexact = inexact.filter(|(_, v)| scaled_bias::for_file(**v, scale) * scale != **v);
        let inexact: BTreeMap<_, _> = inexact.map(|(place, v)| (place, v.to_bits())).collect();
        if !inexact.is_empty() {
            self.biases.insert(name.to_string(), inexact);
        }
    }

    /// Entries for a file, of those tensors that are in it.
    pub fn entries<'a>(
        &self,
        tensors: impl Iterator<Item = &'a str> + Clone,
    ) -> impl Iterator<Item = (String, String)> {
        let scales = entry(SCALES, &self.scales, tensors.clone());
        scales
            .into_iter()
            .chain(entry(BIASES, &self.biases, tensors))
    }
}

fn entry<'a, T: serde::Serialize>(
    key: &str,
    of: &BTreeMap<String, T>,
    tensors: impl Iterator<Item = &'a str>,
) -> Option<(String, String)> {
    let of: BTreeMap<_, _> = tensors.filter_map(|name| of.get_key_value(name)).collect();
    let json = serde_json::json!(of).to_string();
    (!of.is_empty()).then(|| (key.to_string(), json))
}
