use std::{collections::BTreeMap, path::Path};

use burn::module::Module;
use serde::{Deserialize, Serialize};

use super::CheckpointError;
use crate::qat::{QuantControls, QuantizerSettings};

/// Settings of a training, apart from the tensors of its model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSettings {
    /// Version of this crate.
    pub version: String,
    /// Quantizers of the model, by path.
    pub quantizers: BTreeMap<String, QuantizerSettings>,
    /// Number of batches per optimizer step.
    pub grad_accumulation: usize,
    /// Number of items of the training data, as counted by its loader.
    pub num_items: usize,
}

impl TrainingSettings {
    /// Returns the settings of a training of `model`.
    pub(in crate::train) fn of<M: Module>(
        model: &M,
        grad_accumulation: usize,
        num_items: usize,
    ) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_string(),
            quantizers: quantizers(model),
            grad_accumulation,
            num_items,
        }
    }

    /// Fails with the first quantizer of the `checkpoint` that differs in `model`. One that is missing
    /// on one side is left to the check of the tensors.
    pub(in crate::train) fn check_quantizers<M: Module>(
        &self,
        model: &M,
        checkpoint: &Path,
    ) -> Result<(), CheckpointError> {
        for (quantizer, expected) in quantizers(model) {
            if let Some(found) = self.quantizers.get(&quantizer)
                && *found != expected
            {
                return Err(CheckpointError::OtherQuantizer {
                    path: checkpoint.to_path_buf(),
                    quantizer,
                    expected: Box::new(expected),
                    found: Box::new(found.clone()),
                });
            }
        }
        Ok(())
    }

    /// Returns messages about changed data or steps, for a training that resumes within an epoch.
    pub(in crate::train) fn changes(&self, present: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        let mut compare = |what: &str, found: usize, present: usize| {
            if found != present {
                changes.push(format!(
                    "{what} was {found} when the checkpoint was written and is {present} now: the rest \
                     of the epoch is not that of the earlier training"
                ));
            }
        };
        compare(
            "the number of items of the training data",
            self.num_items,
            present.num_items,
        );
        compare(
            "the number of batches of a step",
            self.grad_accumulation,
            present.grad_accumulation,
        );
        changes
    }
}

fn quantizers<M: Module>(model: &M) -> BTreeMap<String, QuantizerSettings> {
    let controls = QuantControls::of(model);
    let quantizers = controls.quantizers();
    quantizers
        .map(|(path, settings)| (path.to_string(), settings.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_data_is_said_with_both_numbers() {
        let settings = |num_items| TrainingSettings {
            version: String::new(),
            quantizers: BTreeMap::new(),
            grad_accumulation: 1,
            num_items,
        };
        assert!(settings(40).changes(&settings(40)).is_empty());
        let changes = settings(40).changes(&settings(50));
        assert_eq!(changes.len(), 1);
        assert!(changes[0].contains("was 40 when the checkpoint was written and is 50 now"));
    }
}
