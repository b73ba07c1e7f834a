use core::fmt;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LayerSensitivity, QuantControls, SensitivityReport};
use crate::quant::BitWidth;

/// Weight precision of each layer of a model.
///
/// [`Prepare::with_plan`](super::Prepare::with_plan) prepares a model by it.
/// [`QuantControls::apply_plan`] sets it on an existing model, such as one of
/// [`BitLinear`](crate::nn::BitLinear) layers. A layer that is not in it stays as configured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MixedPrecisionPlan {
    /// Precisions by the paths of the layers.
    pub layers: BTreeMap<String, Precision>,
}

/// Weight precision of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Precision {
    /// Precision of the scheme: ternary in BitNet, 2 bits each.
    Configured,
    /// Symmetric codes of this number of bits, 2 to 8.
    Bits(u8),
    /// Float weights of 32 bits, not quantized.
    Float,
}

/// Budget of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PlanBudget {
    /// Maximum number of bytes of all weights.
    Bytes(u64),
    /// Maximum of the average bits per weight.
    BitsPerWeight(f64),
    /// Maximum of the sum of the rises of the loss, each measured for a layer alone.
    LossIncrease(f64),
}

/// Error for a plan outside a budget or a model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Even the smallest plan exceeds the budget.
    #[error("the budget is {budget} bits, and all layers as configured take {smallest}")]
    TooLarge {
        /// Bits of the budget.
        budget: f64,
        /// Bits of all layers as configured.
        smallest: f64,
    },
    /// The budget is NaN or negative.
    #[error("a budget is 0 or more, got {0:?}")]
    Budget(PlanBudget),
    /// Layers of the plan that are not in the model.
    #[error("the model has no layers {}, it has: {}", .layers.join(", "), .model.join(", "))]
    UnknownLayers {
        /// Their paths.
        layers: Vec<String>,
        /// The layers of the model.
        model: Vec<String>,
    },
}

impl Precision {
    /// Returns the bits per weight, without the scales: packed codes take 2 bits.
    pub fn bits(&self) -> f64 {
        match self {
            Self::Configured => 2.0,
            Self::Bits(bits) => f64::from(*bits),
            Self::Float => 32.0,
        }
    }
}

/// A choice for a layer: its size, and its contribution to the loss.
#[derive(Debug, Clone, Copy)]
struct Choice {
    precision: Precision,
    bits: f64,
    rise: f64,
}

impl MixedPrecisionPlan {
    /// Returns the bits of all weights of the measured layers; those that are not in the plan are as
    /// configured.
    pub fn num_bits(&self, report: &SensitivityReport) -> f64 {
        let bits = |layer: &LayerSensitivity| self.precision(layer).bits() * layer.weights as f64;
        report.layers.iter().map(bits).sum()
    }

    /// Returns the contribution of the layers to the loss, each as measured alone.
    pub fn loss_increase(&self, report: &SensitivityReport) -> f64 {
        let rise = |layer: &LayerSensitivity| rise_at(layer, self.precision(layer)).unwrap_or(0.0);
        report.layers.iter().map(rise).sum()
    }

    fn precision(&self, layer: &LayerSensitivity) -> Precision {
        let planned = self.layers.get(&layer.layer);
        planned.copied().unwrap_or(Precision::Configured)
    }

    /// Chooses a precision for each measured layer: as configured, one of the measured widths, or
    /// float.
    ///
    /// Each layer starts with its smallest choice. Steps to larger choices are taken along the lower convex
    /// hull of each layer's choices: each time the step within the budget that lowers the loss most for its
    /// bits, until no step fits (or, for a budget of the loss, until the loss fits). The difference to the
    /// best plan within the budget is less than the gain of the first step that did not fit. Rises of the
    /// loss count as independent of each other, and those below 0 as 0; the sizes are those of the weights
    /// without their scales.
    ///
    /// # Errors
    ///
    /// If all layers as configured exceed the budget, or it is NaN or negative.
    pub fn within(budget: PlanBudget, report: &SensitivityReport) -> Result<Self, PlanError> {
        let weights: usize = report.layers.iter().map(|layer| layer.weights).sum();
        let (max_bits, max_rise) = match budget {
            PlanBudget::Bytes(bytes) => (8.0 * bytes as f64, 0.0),
            PlanBudget::BitsPerWeight(bits) if bits >= 0.0 => (bits * weights as f64, 0.0),
            PlanBudget::LossIncrease(rise) if rise >= 0.0 => (f64::INFINITY, rise),
            other => return Err(PlanError::Budget(other)),
        };
        let hulls: Vec<Vec<Choice>> = report.layers.iter().map(hull).collect();
        let mut chosen = vec![0; hulls.len()];
        let mut bits: f64 = hulls.iter().map(|hull| hull[0].bits).sum();
        let mut rise: f64 = hulls.iter().map(|hull| hull[0].rise).sum();
        if bits > max_bits {
            return Err(PlanError::TooLarge {
                budget: max_bits,
                smallest: bits,
            });
        }
        while rise > max_rise {
            let steps = (0..hulls.len()).filter_map(|layer| {
                let hull = &hulls[layer];
                let (here, next) = (hull[chosen[layer]], *hull.get(chosen[layer] + 1)?);
                let more = next.bits - here.bits;
                (bits + more <= max_bits).then(|| (layer, (here.rise - next.rise) / more))
            });
            let Some((layer, _)) = steps.max_by(|a, b| a.1.total_cmp(&b.1)) else {
                break;
            };
            let (here, next) = (hulls[layer][chosen[layer]], hulls[layer][chosen[layer] + 1]);
            chosen[layer] += 1;
            bits += next.bits - here.bits;
            rise += next.rise - here.rise;
        }
        let layers = report.layers.iter().zip(hulls.iter().zip(chosen));
        let layers = layers.map(|(layer, (hull, i))| (layer.layer.clone(), hull[i].precision));
        Ok(Self {
            layers: layers.collect(),
        })
    }

    /// Rejects layers that are not in a model.
    pub(super) fn check(&self, model: &[String]) -> Result<(), PlanError> {
        let unknown = self.layers.keys().filter(|layer| !model.contains(layer));
        let layers: Vec<String> = unknown.cloned().collect();
        match layers.is_empty() {
            true => Ok(()),
            false => Err(PlanError::UnknownLayers {
                layers,
                model: model.to_vec(),
            }),
        }
    }
}

/// Returns the contribution of a layer to the loss at a precision, if it was measured.
fn rise_at(layer: &LayerSensitivity, precision: Precision) -> Option<f64> {
    let rise = match precision {
        Precision::Configured => Some(layer.alone),
        Precision::Bits(bits) => layer.at_bits.get(&bits).copied(),
        Precision::Float => Some(0.0),
    };
    rise.map(|rise| rise.max(0.0))
}

/// Returns the lower convex hull of the choices of a layer, from the smallest to the best: each step lowers
/// the loss by less for its bits than the previous one.
fn hull(layer: &LayerSensitivity) -> Vec<Choice> {
    let precisions = [Precision::Configured, Precision::Float].into_iter();
    let precisions = precisions.chain(layer.at_bits.keys().map(|&bits| Precision::Bits(bits)));
    let mut choices: Vec<Choice> = precisions
        .filter_map(|precision| {
            let rise = rise_at(layer, precision)?;
            let bits = precision.bits() * layer.weights as f64;
            Some(Choice {
                precision,
                bits,
                rise,
            })
        })
        .collect();
    choices.sort_by(|a, b| a.bits.total_cmp(&b.bits).then(a.rise.total_cmp(&b.rise)));
    let mut hull: Vec<Choice> = Vec::new();
    for choice in choices {
        if hull.last().is_some_and(|last| choice.rise >= last.rise) {
            continue;
        }
        // Removes those above the line from their predecessor to the new one.
        while let [.., before, last] = &hull[..] {
            let slope = |from: &Choice, to: &Choice| (from.rise - to.rise) / (to.bits - from.bits);
            if slope(before, last) > slope(last, &choice) {
                break;
            }
            hull.pop();
        }
        hull.push(choice);
    }
    hull
}

impl QuantControls {
    /// Sets the precision of each layer of a plan on a model before or during training: the width of its
    /// weights, or the exclusion of its weights and activations. Records of the model hold it.
    ///
    /// # Errors
    ///
    /// If a layer of the plan is not in the model; nothing is changed then.
    pub fn apply_plan(&self, plan: &MixedPrecisionPlan) -> Result<(), PlanError> {
        let layers = self.layers();
        let names: Vec<String> = layers.iter().map(|(layer, _)| layer.clone()).collect();
        plan.check(&names)?;
        for (layer, own) in layers {
            let Some(precision) = plan.layers.get(&layer) else {
                continue;
            };
            own.set_excluded(*precision == Precision::Float);
            own.set_weight_width(match precision {
                Precision::Bits(bits) => Some(BitWidth::Bits(*bits)),
                _ => None,
            });
        }
        Ok(())
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("as configured"),
            Self::Bits(bits) => write!(f, "{bits} bits"),
            Self::Float => f.write_str("float"),
        }
    }
}

impl fmt::Display for MixedPrecisionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (layer, precision) in &self.layers {
            writeln!(f, "{layer:<40} {precision}")?;
        }
        Ok(())
    }
}
