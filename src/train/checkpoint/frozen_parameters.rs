use std::collections::HashSet;

use burn::{
    module::{Module, Param, ParamGroup, ParamId},
    tensor::{Bool, ExecutionError, Int, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};

use super::CheckpointError;
use crate::base::path_visitor::{ModulePath, PathVisitor, visit_paths};

/// Parameter that a checkpoint does not hold, as it does not train.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenParameter {
    /// Path in the module.
    pub path: String,
    /// CRC-32 of its values.
    pub crc32: u32,
}

/// Parameters of a model that do not train.
#[derive(Debug)]
pub(in crate::train) struct FrozenParameters(Vec<(ParamId, FrozenParameter)>);

impl FrozenParameters {
    /// Returns those of a model.
    ///
    /// # Errors
    ///
    /// If a value cannot be read back from the device.
    pub fn of<M: Module>(model: &M) -> Result<Self, CheckpointError> {
        let mut sums = Sums::default();
        visit_paths(model, &mut sums);
        match sums.failure {
            Some((path, error)) => Err(CheckpointError::Request(format!(
                "the values of `{path}` cannot be read back: {error}"
            ))),
            None => Ok(Self(sums.frozen)),
        }
    }

    /// Returns their paths and checksums.
    pub fn entries(self) -> Vec<FrozenParameter> {
        self.0.into_iter().map(|(_, frozen)| frozen).collect()
    }

    /// Returns those that have the values of `before`, and the group of all other parameters of the model.
    pub fn unchanged(self, before: &[FrozenParameter]) -> (Vec<FrozenParameter>, ParamGroup) {
        let before: HashSet<_> = before.iter().collect();
        let same = self.0.into_iter().filter(|(_, now)| before.contains(now));
        let (ids, same): (Vec<ParamId>, _) = same.unzip();
        (same, ParamGroup::all().exclude(ParamGroup::from_ids(ids)))
    }

    /// Returns the first parameter of a checkpoint that has other values in this model.
    pub fn first_difference<'a>(
        &self,
        checkpoint: &'a [FrozenParameter],
    ) -> Option<&'a FrozenParameter> {
        let here: HashSet<_> = self.0.iter().map(|(_, frozen)| frozen).collect();
        checkpoint.iter().find(|there| !here.contains(there))
    }
}

/// Visitor that computes the sums.
#[derive(Default)]
struct Sums {
    frozen: Vec<(ParamId, FrozenParameter)>,
    failure: Option<(String, ExecutionError)>,
}

impl Sums {
    fn add(
        &mut self,
        path: &ModulePath,
        id: ParamId,
        values: impl FnOnce() -> Result<TensorData, ExecutionError>,
    ) {
        if self.failure.is_some() {
            return;
        }
        match values() {
            Ok(data) => {
                let crc32 = crc32fast::hash(data.as_bytes());
                let path = path.join();
                self.frozen.push((id, FrozenParameter { path, crc32 }));
            }
            Err(error) => self.failure = Some((path.join(), error)),
        }
    }
}

impl PathVisitor for Sums {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            self.add(path, param.id, || param.base().try_into_data());
        }
    }

    fn visit_int<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D, Int>>) {
        self.add(path, param.id, || param.base().try_into_data());
    }

    fn visit_bool<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D, Bool>>) {
        self.add(path, param.id, || param.base().try_into_data());
    }
}
