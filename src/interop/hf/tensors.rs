//! The tensors that a model has in a folder.

use std::collections::BTreeSet;

use safetensors::{Dtype, tensor::TensorInfo};

use super::{
    Family,
    checkpoint::Checkpoint,
    dtype::{FLOAT_TYPES, float_dtype},
    error::TensorProblem,
    head::Head,
};
use crate::interop::architecture::{HEAD, Parameter};

/// Ending of the scale of a packed weight, after `.weight`.
pub(super) const SCALE_SUFFIX: &str = "_scale";

/// Buffers that old files have and nobody reads.
const BUFFERS: [&str; 4] = [
    ".rotary_emb.inv_freq",
    ".rotary_emb.cos_cached",
    ".rotary_emb.sin_cached",
    ".self_attn.masked_bias",
];

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExpectedTensor {
    pub name: String,
    /// Shape in the file; of the codes, if packed.
    pub shape: Vec<usize>,
    pub kind: TensorKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TensorKind {
    Float,
    Codes,
    Scale,
    /// Floats of F32 and no other type.
    Single,
}

/// The tensors of a parameter in full precision.
pub(super) fn float_tensors(family: Family, parameter: &Parameter) -> Vec<ExpectedTensor> {
    vec![ExpectedTensor {
        name: family.tensor_name(parameter),
        shape: parameter.shape.clone(),
        kind: TensorKind::Float,
    }]
}

/// Codes and scale of a packed weight.
pub(super) fn packed_tensors(family: Family, parameter: &Parameter) -> Vec<ExpectedTensor> {
    let name = family.tensor_name(parameter);
    let scale = ExpectedTensor {
        name: format!("{name}{SCALE_SUFFIX}"),
        shape: vec![1],
        kind: TensorKind::Scale,
    };
    let codes = ExpectedTensor {
        name,
        shape: vec![parameter.shape[0].div_ceil(4), parameter.row_len()],
        kind: TensorKind::Codes,
    };
    vec![codes, scale]
}

/// Everything about the tensors of a checkpoint that is not as expected.
pub(super) fn problems(
    checkpoint: &Checkpoint,
    expected: &[ExpectedTensor],
    head: Head,
) -> Vec<TensorProblem> {
    let known: BTreeSet<&str> = expected.iter().map(|tensor| tensor.name.as_str()).collect();
    let head_name = HEAD.hf();
    let ignored = |name: &str| {
        // Some programs write the head that is the embedding table, too.
        (head != Head::Own && name == head_name)
            || BUFFERS.iter().any(|buffer| name.ends_with(buffer))
    };
    let unexpected = checkpoint.entries().map(|(name, _)| name);
    let unexpected = unexpected.filter(|name| !known.contains(name) && !ignored(name));
    let of_expected =
        expected.iter().filter_map(
            |tensor| match checkpoint.get(&head.file_name(&tensor.name)) {
                Some(entry) => problem(tensor, &entry.info),
                None => Some(TensorProblem::Missing {
                    name: tensor.name.clone(),
                    shape: tensor.shape.clone(),
                }),
            },
        );
    of_expected
        .chain(unexpected.map(|name| TensorProblem::Unexpected {
            name: name.to_string(),
        }))
        .collect()
}

fn problem(expected: &ExpectedTensor, found: &TensorInfo) -> Option<TensorProblem> {
    let name = expected.name.clone();
    let (types, right_type) = match expected.kind {
        TensorKind::Codes => ("U8", found.dtype == Dtype::U8),
        TensorKind::Single => ("F32", found.dtype == Dtype::F32),
        _ => (FLOAT_TYPES, float_dtype(found.dtype).is_some()),
    };
    if !right_type {
        return Some(TensorProblem::DType {
            name,
            expected: types,
            found: format!("{:?}", found.dtype),
        });
    }
    // A scale is written as a scalar, too.
    let scalar = expected.kind == TensorKind::Scale && found.shape.is_empty();
    (found.shape != expected.shape && !scalar).then(|| TensorProblem::Shape {
        name,
        expected: expected.shape.clone(),
        found: found.shape.clone(),
    })
}
