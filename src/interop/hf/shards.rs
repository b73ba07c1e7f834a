//! The safetensors files of a model.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
};

use serde_json::{Map, json};

use super::{
    HfError,
    checkpoint::{INDEX_FILE, SINGLE_FILE, ShardIndex},
    exact_values::ExactValues,
    folder::NewFolder,
    saved_tensor::SavedTensor,
};

/// Writes tensors in their order, in files of up to `max_bytes` bytes of tensors.
pub(super) fn write_shards(
    new: &NewFolder,
    tensors: Vec<SavedTensor>,
    exact: &ExactValues,
    max_bytes: usize,
) -> Result<(), HfError> {
    let total_size: usize = tensors.iter().map(SavedTensor::num_bytes).sum();
    let shards = shards(tensors, max_bytes);
    if let [shard] = shards.as_slice() {
        return write_shard(new, SINGLE_FILE, shard, exact);
    }
    let mut weight_map = BTreeMap::new();
    for (i, shard) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        write_shard(new, &file, shard, exact)?;
        let names = shard.iter().map(|tensor| tensor.name().to_string());
        weight_map.extend(names.map(|name| (name, file.clone())));
    }
    let metadata = Map::from_iter([("total_size".to_string(), json!(total_size))]);
    let index = ShardIndex {
        metadata,
        weight_map,
    };
    new.write_json(INDEX_FILE, &index)
}

/// Tensors in their order, cut where a file is full.
fn shards(tensors: Vec<SavedTensor>, max_bytes: usize) -> Vec<Vec<SavedTensor>> {
    let mut shards = vec![Vec::new()];
    let mut bytes = 0;
    for tensor in tensors {
        let shard = shards.last_mut().expect("never empty");
        if bytes + tensor.num_bytes() > max_bytes && !shard.is_empty() {
            bytes = 0;
            shards.push(Vec::new());
        }
        bytes += tensor.num_bytes();
        shards.last_mut().expect("never empty").push(tensor);
    }
    shards
}

fn write_shard(
    new: &NewFolder,
    name: &str,
    tensors: &[SavedTensor],
    exact: &ExactValues,
) -> Result<(), HfError> {
    let path = new.file(name);
    let mut metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    metadata.extend(exact.entries(tensors.iter().map(SavedTensor::name)));
    let views = tensors.iter().map(|tensor| (tensor.name(), tensor));
    safetensors::serialize_to_file(views, Some(metadata), &path)
        .map_err(|error| HfError::file(&path, error))?;
    if let Some(error) = tensors.iter().find_map(SavedTensor::take_error) {
        return Err(error);
    }
    // The writer makes its files for their owner alone.
    let of_config = new.file("config.json");
    let permissions = fs::metadata(&of_config).map(|metadata| metadata.permissions());
    permissions
        .and_then(|permissions| fs::set_permissions(&path, permissions))
        .map_err(HfError::io(&path))
}
