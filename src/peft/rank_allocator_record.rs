use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Tensor, TensorData, TensorReadError};
use serde::{Deserialize, Serialize};

use super::{
    PeftError, RankAllocator,
    importance::{DirectionImportance, Importance},
    rank_allocator::AllocatedModule,
};

/// State of a [`RankAllocator`], for a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RankAllocatorRecord {
    /// Which directions of each adapter are kept, by its path in the model.
    pub kept: BTreeMap<String, Vec<bool>>,
    /// Averages of importance and uncertainty of each factor, by its path.
    #[serde(skip)]
    pub averages: BTreeMap<String, TensorData>,
}

impl RankAllocator {
    /// Returns the state.
    ///
    /// # Errors
    ///
    /// If averages cannot be read back from the device.
    pub fn to_record(&self) -> Result<RankAllocatorRecord, TensorReadError> {
        let mut record = self.to_record_without_averages();
        for (path, module) in &self.modules {
            if let Some(DirectionImportance { a, e, b }) = &module.importance {
                save(&mut record.averages, format!("{path}.a"), a)?;
                save(&mut record.averages, format!("{path}.e"), e)?;
                save(&mut record.averages, format!("{path}.b"), b)?;
            }
        }
        Ok(record)
    }

    /// Returns the state without what has to be read back from the device.
    pub fn to_record_without_averages(&self) -> RankAllocatorRecord {
        let kept = self.kept();
        RankAllocatorRecord {
            kept: kept
                .map(|(path, kept)| (path.to_string(), kept.to_vec()))
                .collect(),
            averages: BTreeMap::new(),
        }
    }

    /// Restores a state, on a device.
    ///
    /// # Errors
    ///
    /// If it is of a model with other adapters.
    pub fn load_record(
        mut self,
        mut record: RankAllocatorRecord,
        device: &Device,
    ) -> Result<Self, PeftError> {
        let device = device.clone().inner();
        for (path, module) in &mut self.modules {
            let kept = record.kept.remove(path);
            module.kept = kept
                .filter(|kept| kept.len() == module.kept.len())
                .ok_or_else(|| other(path))?;
            module.importance = load(&mut record.averages, path, module, &device)?;
        }
        let left = record.kept.keys().chain(record.averages.keys()).next();
        match left {
            Some(path) => Err(other(path)),
            None => Ok(self),
        }
    }
}

fn other(path: &str) -> PeftError {
    PeftError::OtherDirections {
        path: path.to_string(),
    }
}

fn save<const D: usize>(
    averages: &mut BTreeMap<String, TensorData>,
    path: String,
    importance: &Importance<D>,
) -> Result<(), TensorReadError> {
    let Importance { mean, uncertainty } = importance.clone();
    let mean = mean.try_into_data_dtype(DType::F32)?;
    averages.insert(format!("{path}.mean"), mean);
    let uncertainty = uncertainty.try_into_data_dtype(DType::F32)?;
    averages.insert(format!("{path}.uncertainty"), uncertainty);
    Ok(())
}

/// Returns the averages of an adapter, if there are any.
fn load(
    averages: &mut BTreeMap<String, TensorData>,
    path: &str,
    module: &AllocatedModule,
    device: &Device,
) -> Result<Option<DirectionImportance>, PeftError> {
    if !averages.contains_key(&format!("{path}.e.mean")) {
        return Ok(None);
    }
    let rank = module.kept.len();
    let a = importance::<2>(averages, &format!("{path}.a"), device)?;
    let e = importance::<1>(averages, &format!("{path}.e"), device)?;
    let b = importance::<2>(averages, &format!("{path}.b"), device)?;
    let ranks = (a.mean.dims()[1], e.mean.dims()[0], b.mean.dims()[0]);
    match ranks == (rank, rank, rank) {
        true => Ok(Some(DirectionImportance { a, e, b })),
        false => Err(other(path)),
    }
}

fn importance<const D: usize>(
    averages: &mut BTreeMap<String, TensorData>,
    path: &str,
    device: &Device,
) -> Result<Importance<D>, PeftError> {
    let mut take = |name: &str| -> Result<Tensor<D>, PeftError> {
        let data = averages.remove(&format!("{path}.{name}"));
        let data = data.filter(|data| data.shape().len() == D);
        let data = data.ok_or_else(|| other(path))?;
        Ok(Tensor::from_data(data, (device, DType::F32)))
    };
    let (mean, uncertainty) = (take("mean")?, take("uncertainty")?);
    match mean.dims() == uncertainty.dims() {
        true => Ok(Importance { mean, uncertainty }),
        false => Err(other(path)),
    }
}
