use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};

use super::PROMPT_TENSOR;
use crate::interop::hf::TensorProblem;

/// Moves tensors of a file into adapters.
pub(super) struct Reader {
    pub(super) tensors: BTreeMap<String, TensorData>,
    /// Prefix of the names in the file.
    pub(super) prefix: &'static str,
    pub(super) problems: Vec<TensorProblem>,
}

impl Reader {
    /// Returns the name of a tensor in the file.
    pub(super) fn in_file(&self, name: &str) -> String {
        match name {
            PROMPT_TENSOR => name.to_string(),
            _ => format!("{}{name}", self.prefix),
        }
    }

    /// Returns whether the file has a tensor that was not taken.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Returns the tensor of a name, or notes the problem with it.
    pub(super) fn take<const D: usize>(
        &mut self,
        name: String,
        shape: [usize; D],
        device: &Device,
    ) -> Option<Tensor<D>> {
        let data = self.take_data(&name, &shape)?;
        Some(Tensor::from_data(data, device))
    }

    /// Returns the values of a name, or notes the problem with them.
    pub(super) fn take_data(&mut self, name: &str, shape: &[usize]) -> Option<TensorData> {
        let full = self.in_file(name);
        let problem = match self.tensors.remove(name) {
            Some(data) if data.shape()[..] == *shape => return Some(data),
            Some(data) => TensorProblem::Shape {
                name: full,
                expected: shape.to_vec(),
                found: data.shape().to_vec(),
            },
            None => TensorProblem::Missing {
                name: full,
                shape: shape.to_vec(),
            },
        };
        self.problems.push(problem);
        None
    }
}
