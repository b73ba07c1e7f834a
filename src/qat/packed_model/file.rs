//! File format of a packed model: burnpack, with a JSON header in its metadata.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Write,
    path::Path,
};

use burn::{
    store::ModuleRecord,
    tensor::{Bytes, DType, Device, Shape, TensorData},
};
use burn_pack::{Reader, Tensor, Writer};
use serde::{Deserialize, Serialize};

use super::{PackedModel, PackedModelError, Place};
use crate::{base::atomic_file, qat::PackedWeight};

/// Metadata key of the header.
const HEADER: &str = "bitnet-burn";
const FORMAT: &str = "bitnet-burn packed model";
/// Version that is written, and the newest one that can be read.
const VERSION: u64 = 1;

/// Prefix of the names of code tensors.
const CODES: &str = "codes:";
const SCALES: &str = "scales:";
const REST: &str = "rest:";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    version: u64,
    places: BTreeMap<String, Place>,
}

impl PackedModel {
    /// Writes the model to one file: packed weights and the other tensors. An older file stays until the new
    /// one is complete.
    ///
    /// # Errors
    ///
    /// If the tensors cannot be read back from a device, or the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), PackedModelError> {
        let path = path.as_ref();
        let bytes = self.to_bytes()?;
        let written = atomic_file::write(path, |file| file.write_all(&bytes));
        written.map_err(PackedModelError::io(path))
    }

    fn to_bytes(&self) -> Result<Bytes, PackedModelError> {
        let mut tensors = Vec::new();
        for (path, weight) in &self.weights {
            let data = weight.to_data().map_err(PackedModelError::device)?;
            for (kind, data) in [CODES, SCALES].into_iter().zip(data) {
                let (bytes, shape, dtype) = data.into_parts();
                tensors.push(Tensor::new(
                    format!("{kind}{path}"),
                    dtype,
                    shape,
                    None,
                    bytes,
                ));
            }
        }
        let pack = PackedModelError::device::<burn_pack::Error>;
        let rest = self.rest.clone().into_bytes();
        let rest = Reader::from_bytes(rest.map_err(PackedModelError::Record)?).map_err(pack)?;
        for tensor in rest.into_tensors().map_err(pack)? {
            let (name, dtype, shape, id, bytes) = tensor.into_parts().map_err(pack)?;
            tensors.push(Tensor::new(
                format!("{REST}{name}"),
                dtype,
                shape,
                id,
                bytes,
            ));
        }
        let header = Header {
            format: FORMAT.to_string(),
            version: VERSION,
            places: self.places.clone(),
        };
        let header = serde_json::to_string(&header).map_err(PackedModelError::device)?;
        let writer = Writer::new(tensors).with_metadata(HEADER, &header);
        writer.into_bytes().map_err(pack)
    }

    /// Reads the file of a packed model, with its packed weights on `device`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, was not written by [`save`](Self::save), or is damaged.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, PackedModelError> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(PackedModelError::io(path))?;
        let foreign = |reason: String| PackedModelError::foreign(path, reason);
        let pack = |error: burn_pack::Error| foreign(error.to_string());
        let reader = Reader::from_bytes(Bytes::from_bytes_vec(bytes)).map_err(pack)?;
        let header = reader.metadata().get(HEADER).cloned();
        let header = header.ok_or_else(|| foreign(format!("it has no header {HEADER:?}")))?;
        let header = read_header(&header, path)?;
        let mut parts = Parts::default();
        for tensor in reader.into_tensors().map_err(pack)? {
            parts.add(tensor).map_err(foreign)?;
        }
        // Packed weights have no gradients, in any model that they are loaded into.
        parts.into_model(header, path, &device.clone().inner())
    }
}

fn read_header(json: &str, path: &Path) -> Result<Header, PackedModelError> {
    let foreign = |reason: String| PackedModelError::foreign(path, reason);
    let malformed = |error: serde_json::Error| foreign(error.to_string());
    let value: serde_json::Value = serde_json::from_str(json).map_err(malformed)?;
    let format = value["format"].as_str();
    if format != Some(FORMAT) {
        return Err(foreign(format!("its format is {format:?}, not {FORMAT:?}")));
    }
    match value["version"].as_u64() {
        Some(VERSION) => {}
        Some(found) if found > VERSION => {
            return Err(PackedModelError::NewerVersion {
                path: path.to_path_buf(),
                supported: VERSION,
                found,
            });
        }
        found => return Err(foreign(format!("its version is {found:?}"))),
    }
    let header: Header = serde_json::from_value(value).map_err(malformed)?;
    let mut places = header.places.iter();
    match places.find(|(_, place)| !place.quantizer.is_ternary()) {
        None => Ok(header),
        Some((weight, place)) => Err(foreign(format!(
            "{weight} has the quantizer {}, which is not ternary",
            place.quantizer
        ))),
    }
}

/// The tensors of a file.
#[derive(Default)]
struct Parts {
    codes: HashMap<String, TensorData>,
    scales: HashMap<String, TensorData>,
    rest: Vec<Tensor>,
    rest_paths: Vec<String>,
}

impl Parts {
    fn add(&mut self, tensor: Tensor) -> Result<(), String> {
        let parts = tensor.into_parts().map_err(|error| error.to_string())?;
        let (name, dtype, shape, id, bytes): (String, DType, Shape, Option<u64>, Bytes) = parts;
        if let Some(path) = name.strip_prefix(REST) {
            if matches!(dtype, DType::QFloat(_)) {
                return Err(format!("the type of `{path}` is {dtype:?}"));
            }
            self.rest_paths.push(path.to_string());
            self.rest
                .push(Tensor::new(path.to_string(), dtype, shape, id, bytes));
            return Ok(());
        }
        let (kind, path) = match (name.strip_prefix(CODES), name.strip_prefix(SCALES)) {
            (Some(path), _) => (&mut self.codes, path),
            (_, Some(path)) => (&mut self.scales, path),
            _ => return Err(format!("it has a tensor `{name}`")),
        };
        // A damaged file may have them at any offset, but words must be aligned.
        let bytes = Bytes::from_bytes_vec(bytes.to_vec());
        kind.insert(
            path.to_string(),
            TensorData::from_bytes(bytes, shape, dtype),
        );
        Ok(())
    }

    fn into_model(
        mut self,
        header: Header,
        path: &Path,
        device: &Device,
    ) -> Result<PackedModel, PackedModelError> {
        let Header { places, .. } = header;
        let mut weights = BTreeMap::new();
        for (name, place) in &places {
            let wrong = |reason: String| PackedModelError::Tensor {
                path: path.to_path_buf(),
                tensor: name.clone(),
                reason,
            };
            if place.weight != *name {
                match places.get(&place.weight) {
                    Some(first) if place.shares(first) => continue,
                    _ => return Err(wrong(format!("it is not that of {}", place.weight))),
                }
            }
            let size = place.matrix().map_err(wrong)?;
            let data = [self.codes.remove(name), self.scales.remove(name)];
            let [Some(codes), Some(scales)] = data else {
                return Err(wrong("it has no codes or no scales".to_string()));
            };
            let (quantizer, dtype) = (&place.quantizer, place.dtype);
            let weight = PackedWeight::from_data(codes, scales, size, quantizer, dtype, device);
            weights.insert(name.clone(), weight.map_err(wrong)?);
        }
        if let Some(name) = self.codes.keys().chain(self.scales.keys()).next() {
            let reason = format!("its header says nothing of the codes or scales of `{name}`");
            return Err(PackedModelError::foreign(path, reason));
        }
        self.rest_paths.sort_unstable();
        Ok(PackedModel {
            weights,
            places,
            rest: record(self.rest)?,
            rest_paths: self.rest_paths,
        })
    }
}

/// Returns tensors as the record of a module.
fn record(tensors: Vec<Tensor>) -> Result<ModuleRecord, PackedModelError> {
    let bytes = Writer::new(tensors).into_bytes();
    let record = bytes.map_err(|error| burn::store::RecordError::Io(error.to_string()));
    record
        .and_then(ModuleRecord::from_bytes)
        .map_err(PackedModelError::Record)
}

impl Place {
    /// Returns whether it shares the weight of another place that stores one.
    fn shares(&self, first: &Self) -> bool {
        let layer = self.layer.clone();
        *self
            == Self {
                layer,
                ..first.clone()
            }
    }

    /// Returns the rows and columns of the packed weight.
    fn matrix(&self) -> Result<[usize; 2], String> {
        let Self {
            shape, row_axis, ..
        } = self;
        let values = shape
            .iter()
            .try_fold(1usize, |n, size| n.checked_mul(*size));
        let rows = shape.get(*row_axis).copied();
        let is_float = matches!(self.dtype, DType::F32 | DType::F16 | DType::BF16);
        let at_an_end = *row_axis == 0 || row_axis + 1 == shape.len();
        match (values, rows) {
            (Some(values), Some(rows)) if values > 0 && at_an_end && is_float => {
                Ok([rows, values / rows])
            }
            _ => Err(format!(
                "a shape of values and its first or last dimension are expected, found {shape:?} and \
                 dimension {row_axis} of {:?}",
                self.dtype
            )),
        }
    }
}
