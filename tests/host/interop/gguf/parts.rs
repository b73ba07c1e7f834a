//! A GGUF file of `f32` in parts, to change one.

use std::path::Path;

use bitnet_burn::interop::gguf::{GgmlType, GgufMetadata, GgufReader, GgufShape, GgufWriter};

/// A file in parts.
#[derive(Clone)]
pub struct Parts {
    pub metadata: GgufMetadata,
    pub tensors: Vec<(String, GgufShape, Vec<u8>)>,
}

impl Parts {
    pub fn of(path: &Path) -> Self {
        let reader = GgufReader::open(path).unwrap();
        let tensors = reader.tensors();
        Self {
            metadata: reader.metadata().clone(),
            tensors: tensors
                .map(|t| (t.name().to_string(), t.shape(), t.bytes().to_vec()))
                .collect(),
        }
    }

    pub fn write(self, path: &Path) {
        let mut writer = GgufWriter::new(self.metadata).unwrap();
        for (name, shape, bytes) in self.tensors {
            writer.add_bytes(name, GgmlType::F32, shape, bytes).unwrap();
        }
        writer.write(path).unwrap();
    }
}
