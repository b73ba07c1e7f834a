use core::fmt;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LayerSensitivity, QuantControls, SensitivityReport};
use crate::quant::BitWidth;

/// How each layer of a model stores its weights.
///
/// [`Prepare::with_plan`](super::Prepare::with_plan) prepares a model by it;
/// [`QuantControls::apply_plan`] sets it on a model that is built already, such as one of
/// [`BitLinear`](crate::nn::BitLinear) layers. A layer that is not in it stays as configured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MixedPrecisionPlan {
    /// By the paths of the layers.
    pub layers: BTreeMap<String, Precision>,
}

/// How a layer stores its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Precision {
    /// As the scheme configures: ternary in BitNet, 2 bits each.
    Configured,
    /// Symmetric codes of so many bits, 2 to 8.
    Bits(u8),
    /// 32 bits, not quantised.
    Float,
}

/// What a plan must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PlanBudget {
    /// All weights take at most so many bytes.
    Bytes(u64),
    /// Weights take at most so many bits in the mean.
    BitsPerWeight(f64),
    /// The rises of the loss, each measured for a layer alone, add up to at most this.
    LossIncrease(f64),
}

/// Error when there is no plan within a budget.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Even the smallest plan takes more.
    #[error("the budget is {budget} bits, and all layers as configured take {smallest}")]
    TooLarge {
        /// Bits of the budget.
        budget: f64,
        /// Bits of all layers as configured.
        smallest: f64,
    },
    /// The budget is no number, or negative.
    #[error("a budget is 0 or more, got {0:?}")]
    Budget(PlanBudget),
    /// Layers of the plan that the model does not have.
    #[error("the model has no layers {}, it has: {}", .layers.join(", "), .model.join(", "))]
    UnknownLayers {
        /// Their paths.
        layers: Vec<String>,
        /// Those of the model.
        model: Vec<String>,
    },
}

impl Precision {
    /// Bits that a weight takes, without the scales: packed codes take 2 bits.
    pub fn bits(&self) -> f64 {
        match self {
            Self::Configured => 2.0,
            Self::Bits(bits) => f64::from(*bits),
            Self::Float => 32.0,
        }
    }
}

/// A choice for a layer: its size, and what it adds to the loss.
#[derive(Debug, Clone, Copy)]
struct Choice {
    precision: Precision,
    bits: f64,
    rise: f64,
}

impl MixedPrecisionPlan {
    /// Bits of all weights of the measured layers, those that the plan does not have as configured.
    pub fn num_bits(&self, report: &SensitivityReport) -> f64 {
        let bits = |layer: &LayerSensitivity| self.precision(layer).bits() * layer.weights as f64;
        report.layers.iter().map(bits).sum()
    }

    /// What the layers add to the loss, each as measured alone.
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
    /// Each layer begins with its smallest choice; then, again and again, the step to a larger one that
    /// lowers the loss most for its bits and fits the budget is taken, along the lower convex hull of
    /// each layer's choices, until no step fits (or, for a budget of the loss, until the loss fits).
    /// What the plan is short of the best one within the budget is less than the gain of the first
    /// step that did not fit. Rises of the loss count as independent of each other, and those below 0
    /// as 0; the sizes are those of the weights without their scales.
    ///
    /// # Errors
    ///
    /// If all layers as configured take more than the budget, or it is no number.
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

    /// Refuses layers that are not among those of a model.
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

/// What a layer adds to the loss at a precision, if that was measured.
fn rise_at(layer: &LayerSensitivity, precision: Precision) -> Option<f64> {
    let rise = match precision {
        Precision::Configured => Some(layer.alone),
        Precision::Bits(bits) => layer.at_bits.get(&bits).copied(),
        Precision::Float => Some(0.0),
    };
    rise.map(|rise| rise.max(0.0))
}

/// The lower convex hull of the choices of a layer, from the smallest to the best: each step lowers
/// the loss by less for its bits than the one before.
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
        // Those above the line from the one before them to the new one go.
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
    /// Sets the precision of each layer of a plan on a model that trains or is about to: the width of
    /// its weights, or their exclusion together with that of the layer's activations. Records of the
    /// model keep it.
    ///
    /// # Errors
    ///
    /// If the model has not all layers of the plan; nothing is changed then.
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
