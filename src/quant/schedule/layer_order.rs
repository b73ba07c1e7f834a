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
            return Err(ScheduleError::RepeatedLayers(repeated));
        }
        match self {
            Self::FrontToBack => Ok((0..layers.len()).collect()),
            Self::BackToFront => Ok((0..layers.len()).rev().collect()),
            Self::Sensitivity { scores } => {
                check_names(&layers, scores.keys().map(String::as_str))?;
                if let Some((layer, &score)) = scores.iter().find(|(_, s)| !s.is_finite()) {
                    let layer = layer.clone();
                    return Err(ScheduleError::Sensitivity { layer, score });
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
    let repeated = repeated(names);
    if unknown.is_empty() && missing.is_empty() && repeated.is_empty() {
        return Ok(());
    }
    Err(ScheduleError::LayerNames {
        unknown,
        missing,
        repeated,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: [&str; 4] = ["a", "b", "c", "d"];

    fn explicit(names: &[&str]) -> LayerOrder {
        LayerOrder::Explicit {
            names: names.iter().map(|name| name.to_string()).collect(),
        }
    }

    fn sensitivity(scores: &[(&str, f64)]) -> LayerOrder {
        let scores = scores
            .iter()
            .map(|(name, score)| (name.to_string(), *score));
        LayerOrder::Sensitivity {
            scores: scores.collect(),
        }
    }

    #[test]
    fn each_order_ranks_the_layers_as_it_says() {
        let scores = [("a", 0.5), ("b", -1.0), ("c", 0.5), ("d", 0.0)];
        for (order, ranks) in [
            (LayerOrder::FrontToBack, [0, 1, 2, 3]),
            (LayerOrder::BackToFront, [3, 2, 1, 0]),
            (sensitivity(&scores), [2, 0, 3, 1]),
            (explicit(&["c", "a", "d", "b"]), [1, 3, 0, 2]),
        ] {
            assert_eq!(order.ranks(&LAYERS).unwrap(), ranks, "{order:?}");
        }
        assert!(
            LayerOrder::BackToFront
                .ranks::<&str>(&[])
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn layers_of_equal_sensitivity_go_from_front_to_back() {
        let order = sensitivity(&[("a", 0.0), ("b", -0.0), ("c", 0.0), ("d", -0.0)]);
        assert_eq!(order.ranks(&LAYERS).unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn names_that_do_not_fit_are_all_listed() {
        let error = explicit(&["x", "a", "c", "a", "y"])
            .ranks(&LAYERS)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the order of layers does not name each layer once; unknown: x, y; missing: b, d; \
             repeated: a"
        );
        let error = sensitivity(&[("a", 0.0), ("b", 1.0), ("d", 0.0)])
            .ranks(&LAYERS)
            .unwrap_err();
        assert!(error.to_string().ends_with("once; missing: c"), "{error}");
    }

    #[test]
    fn a_score_that_is_no_number_is_refused() {
        let scores = [("a", 0.0), ("b", f64::NAN), ("c", 0.0), ("d", 1.0)];
        let error = sensitivity(&scores).ranks(&LAYERS).unwrap_err();
        assert!(matches!(error, ScheduleError::Sensitivity { layer, .. } if layer == "b"));
    }

    #[test]
    fn layers_of_one_name_are_refused() {
        let error = LayerOrder::FrontToBack.ranks(&["a", "b", "a"]).unwrap_err();
        assert_eq!(error, ScheduleError::RepeatedLayers(vec!["a".to_string()]));
    }

    #[test]
    fn json_round_trips() {
        let order = sensitivity(&[("a", 0.5), ("b", 1e-7)]);
        let json = serde_json::to_string(&order).unwrap();
        assert_eq!(json, r#"{"sensitivity":{"scores":{"a":0.5,"b":1e-7}}}"#);
        assert_eq!(serde_json::from_str::<LayerOrder>(&json).unwrap(), order);
    }
}
