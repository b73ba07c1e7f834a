//! Optimizer states in float types other than f32, which Burn loads as the device's default type.

use std::collections::{BTreeMap, BTreeSet};

use burn::{
    optim::OptimizerRecord,
    store::RecordError,
    tensor::{DType, Device},
};
use burn_pack::{Reader, Tensor, Writer};

use super::TensorEntry;

/// Result of restoring the states of an optimizer.
pub(in crate::train) struct OptimizerStates {
    pub record: OptimizerRecord,
    /// Parameters whose states are reset, as these may have had the former type of a parameter
    /// whose type has changed.
    pub dropped: BTreeSet<String>,
    /// First parameter whose state Burn would load in another type than the optimizer keeps it in.
    pub unloadable: Option<(String, DType)>,
}

/// Returns the float type in which Burn loads optimizer states, independent of the saved type.
pub(in crate::train) fn loaded_dtype() -> DType {
    Device::default().settings().float_dtype.into()
}

impl OptimizerStates {
    /// Maps the states to a model with parameters `expected`, from a checkpoint of a model with
    /// parameters `found`.
    pub fn new(
        record: OptimizerRecord,
        expected: &[TensorEntry],
        found: &[TensorEntry],
    ) -> Result<Self, RecordError> {
        let loaded = loaded_dtype();
        let is_other = |entry: &TensorEntry| entry.dtype.is_float() && entry.dtype != loaded;
        let (mut dropped, mut wrong) = (BTreeSet::new(), BTreeSet::new());
        if !expected.iter().any(is_other) {
            return Ok(Self {
                record,
                dropped,
                unloadable: None,
            });
        }
        let reader = Reader::from_bytes(record.into_bytes()?)?;
        let (scalars, metadata) = (reader.scalars().clone(), reader.metadata().clone());
        let mut kept = Vec::new();
        for tensor in reader.into_tensors()? {
            let (name, dtype, shape, id, bytes) = tensor.into_parts()?;
            let path = id.and_then(|id| metadata.get(&id.to_string()));
            let entry = path.and_then(|path| entry(expected, path));
            let before = path.and_then(|path| self::entry(found, path));
            if let Some(entry) = entry.filter(|entry| is_other(entry)) {
                if dtype == entry.dtype {
                    wrong.insert(entry.path.clone());
                } else if dtype == loaded && before.is_some_and(|it| it.dtype != entry.dtype) {
                    dropped.insert(entry.path.clone());
                    continue;
                }
            }
            kept.push(Tensor::new(name, dtype, shape, id, bytes));
        }
        let unloadable = expected.iter().find(|entry| wrong.contains(&entry.path));
        Ok(Self {
            record: written(kept, &scalars, &metadata)?,
            dropped,
            unloadable: unloadable.map(|entry| (entry.path.clone(), entry.dtype)),
        })
    }
}

fn entry<'a>(entries: &'a [TensorEntry], path: &str) -> Option<&'a TensorEntry> {
    entries.iter().find(|entry| entry.path == path)
}

fn written(
    tensors: Vec<Tensor>,
    scalars: &BTreeMap<String, burn_pack::Scalar>,
    metadata: &BTreeMap<String, String>,
) -> Result<OptimizerRecord, RecordError> {
    let mut writer = Writer::new(tensors);
    for (key, value) in scalars {
        writer = writer.with_scalar(key, *value);
    }
    for (key, value) in metadata {
        writer = writer.with_metadata(key, value);
    }
    OptimizerRecord::from_bytes(writer.into_bytes()?)
}
