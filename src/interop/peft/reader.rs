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
        let fits = self.check(name, shape);
        self.tensors.remove(name).filter(|_| fits)
    }

    /// Returns whether there is a tensor of a name and shape, or notes the problem with it.
    pub(super) fn check(&mut self, name: &str, shape: &[usize]) -> bool {
        let name_in_file = self.in_file(name);
        let problem = match self.tensors.get(name) {
            Some(data) if data.shape()[..] == *shape => return true,
            Some(data) => TensorProblem::Shape {
                name: name_in_file,
                expected: shape.to_vec(),
                found: data.shape().to_vec(),
            },
            None => TensorProblem::Missing {
                name: name_in_file,
                shape: shape.to_vec(),
            },
        };
        self.problems.push(problem);
        false
    }
}
