use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ScheduleError;

/// Order in which the layers of a model are quantized.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LayerOrder {
    /// Order from the input to the output.
    #[default]
    FrontToBack,
    /// Order from the output to the input.
    BackToFront,
    /// Order by a measured sensitivity, the lowest first; ties from front to back.
    Sensitivity {
        /// Score of each layer by its name, such as the rise of the loss when only this layer is
        /// quantized.
        scores: BTreeMap<String, f64>,
    },
    /// Given order.
    Explicit {
        /// Name of each layer; the first one is quantized first.
        names: Vec<String>,
    },
}

impl LayerOrder {
    /// Returns the place of each layer in the order, from 0; `layers` are their names from front to back.
    ///
    /// # Errors
    ///
    /// If two layers have the same name, a score is not finite, or the names in the order are not
    /// those of the layers.
    pub fn ranks<S: AsRef<str>>(&self, layers: &[S]) -> Result<Vec<usize>, ScheduleError> {
        let layers: Vec<&str> = layers.iter().map(AsRef::as_ref).collect();
        let repeated = repeated(layers.iter().copied());
        if !repeated.is_empty() {
            return Err(ScheduleError(format!(
                "more than one layer has the name {}",
                repeated.join(", ")
            )));
        }
        match self {
            Self::FrontToBack => Ok((0..layers.len()).collect()),
            Self::BackToFront => Ok((0..layers.len()).rev().collect()),
            Self::Sensitivity { scores } => {
                check_names(&layers, scores.keys().map(String::as_str))?;
                if let Some((layer, &score)) = scores.iter().find(|(_, s)| !s.is_finite()) {
                    return Err(ScheduleError(format!(
                        "the sensitivity of layer {layer} is no finite number: {score}"
                    )));
                }
                let mut order: Vec<usize> = (0..layers.len()).collect();
                // `-0.0` equals `0.0`: a tie.
                let score = |&layer: &usize| scores[layers[layer]] + 0.0;
                order.sort_by(|a, b| score(a).total_cmp(&score(b)));
                Ok(inverse(&order))
            }
            Self::Explicit { names } => {
                check_names(&layers, names.iter().map(String::as_str))?;
                let rank = |layer| names.iter().position(|name| name == layer);
                Ok(layers.iter().filter_map(rank).collect())
            }
        }
    }
}

/// Returns the place of each number in a permutation.
fn inverse(order: &[usize]) -> Vec<usize> {
    let mut ranks = vec![0; order.len()];
    for (rank, &layer) in order.iter().enumerate() {
        ranks[layer] = rank;
    }
    ranks
}

/// Returns the names that occur more than once, each once.
fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let again: BTreeSet<&str> = names.filter(|name| !seen.insert(*name)).collect();
    again.into_iter().map(str::to_string).collect()
}

fn check_names<'a>(
    layers: &[&str],
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), ScheduleError> {
    let named: BTreeSet<&str> = names.clone().collect();
    let known: BTreeSet<&str> = layers.iter().copied().collect();
    let missing = layers.iter().filter(|layer| !named.contains(**layer));
    let missing: Vec<String> = missing.map(|layer| layer.to_string()).collect();
    let unknown = named.difference(&known);
    let unknown: Vec<String> = unknown.map(|name| name.to_string()).collect();
    let differences = [
        ("unknown", unknown),
        ("missing", missing),
        ("repeated", repeated(names)),
    ];
    let differences = differences.iter().filter(|(_, names)| !names.is_empty());
    let differences: String = differences
        .map(|(what, names)| format!("; {what}: {}", names.join(", ")))
        .collect();
    match differences.is_empty() {
        true => Ok(()),
        false => Err(ScheduleError(format!(
            "the order of layers does not name each layer once{differences}"
        ))),
    }
}
