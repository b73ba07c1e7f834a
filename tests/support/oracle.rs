//! Values computed by other libraries (PyTorch, transformers, torchao), from `tests/data`.
//!
//! `manifest.json` there names the programs, their versions, the cases and their tensors.

use std::path::PathBuf;

use burn::tensor::{DType, Device, Int, Tensor};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

use super::values::tensor;

/// Returns the path of a file in `tests/data`.
pub fn data_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn read(name: &str) -> Vec<u8> {
    let path = data_path(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A safetensors file with its part of the manifest.
pub struct Oracle {
    bytes: Vec<u8>,
    /// The manifest's entry of the file.
    pub about: Value,
}

/// A case of a file.
pub struct Case<'a> {
    oracle: &'a Oracle,
    pub name: String,
    /// The manifest's entry of the case.
    pub about: &'a Value,
}

impl Oracle {
    /// Loads the file `tests/data/<name>.safetensors`.
    pub fn open(name: &str) -> Self {
        let file = format!("{name}.safetensors");
        let mut manifest: Value = serde_json::from_slice(&read("manifest.json")).unwrap();
        Self {
            bytes: read(&file),
            about: manifest["files"][&file].take(),
        }
    }

    /// Returns all cases, in alphabetical order.
    pub fn cases(&self) -> Vec<Case<'_>> {
        let cases = self.about["cases"].as_object().expect("a table of cases");
        cases.keys().map(|name| self.case(name)).collect()
    }

    /// Returns the case with this name.
    pub fn case(&self, name: &str) -> Case<'_> {
        let about = &self.about["cases"][name];
        assert!(about.is_object(), "no case {name}");
        Case {
            oracle: self,
            name: name.to_string(),
            about,
        }
    }
}

impl Case<'_> {
    fn view<R>(&self, tensor: &str, read: impl FnOnce(TensorView) -> R) -> R {
        let file = SafeTensors::deserialize(&self.oracle.bytes).unwrap();
        let name = format!("{}.{tensor}", self.name);
        let view = file.tensor(&name);
        read(view.unwrap_or_else(|error| panic!("{name}: {error}")))
    }

    /// Returns whether the case has this tensor.
    pub fn has(&self, tensor: &str) -> bool {
        self.about["tensors"].get(tensor).is_some()
    }

    /// Returns a number of the manifest.
    pub fn number(&self, key: &str) -> f64 {
        let number = self.about[key].as_f64();
        number.unwrap_or_else(|| panic!("{}: no number {key}", self.name))
    }

    /// Returns the shape of a tensor.
    pub fn shape(&self, tensor: &str) -> Vec<usize> {
        self.view(tensor, |view| view.shape().to_vec())
    }

    /// Returns the type of a float tensor.
    pub fn dtype(&self, tensor: &str) -> DType {
        self.view(tensor, |view| match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            dtype => panic!("{tensor} has no float type: {dtype:?}"),
        })
    }

    /// Returns values of a float or small integer tensor, all of them exact in `f32`.
    pub fn floats(&self, tensor: &str) -> Vec<f32> {
        self.view(tensor, |view| {
            let (words, _) = view.data().as_chunks::<4>();
            let (halves, _) = view.data().as_chunks::<2>();
            match view.dtype() {
                Dtype::F32 => words.iter().map(|&b| f32::from_le_bytes(b)).collect(),
                Dtype::F16 => halves
                    .iter()
                    .map(|&b| f16::from_le_bytes(b).to_f32())
                    .collect(),
                Dtype::BF16 => halves
                    .iter()
                    .map(|&b| bf16::from_le_bytes(b).to_f32())
                    .collect(),
                Dtype::I8 => view.data().iter().map(|&b| b as i8 as f32).collect(),
                Dtype::U8 => view.data().iter().map(|&b| b as f32).collect(),
                dtype => panic!("{tensor} is not read as floats: {dtype:?}"),
            }
        })
    }

    /// Returns bytes of an integer tensor of 8 bits.
    pub fn bytes(&self, tensor: &str) -> Vec<u8> {
        self.view(tensor, |view| {
            assert!(matches!(view.dtype(), Dtype::U8 | Dtype::I8));
            view.data().to_vec()
        })
    }

    /// Returns the float tensor on a device, in the type of the file.
    pub fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let shape = self.shape(name).try_into();
        let shape = shape.unwrap_or_else(|shape| panic!("{name} has the shape {shape:?}"));
        tensor(&self.floats(name), shape, self.dtype(name), device)
    }

    /// Returns class ids, one for each example.
    pub fn labels(&self, name: &str, device: &Device) -> Tensor<1, Int> {
        let labels: Vec<i32> = self.view(name, |view| {
            assert_eq!(view.dtype(), Dtype::I64);
            let (labels, _) = view.data().as_chunks::<8>();
            labels
                .iter()
                .map(|&b| i64::from_le_bytes(b) as i32)
                .collect()
        });
        Tensor::from_ints(labels.as_slice(), device)
    }

    /// Returns token ids.
    pub fn tokens(&self, name: &str, device: &Device) -> Tensor<2, Int> {
        let (ids, shape) = self.view(name, |view| {
            assert_eq!(view.dtype(), Dtype::I64);
            let (ids, _) = view.data().as_chunks::<8>();
            let ids: Vec<i32> = ids.iter().map(|&b| i64::from_le_bytes(b) as i32).collect();
            (ids, view.shape().to_vec())
        });
        Tensor::<1, Int>::from_ints(ids.as_slice(), device).reshape([shape[0], shape[1]])
    }
}

/// Returns the bytes of `pack_weights`: byte `r` of a column holds the codes of rows `r`, `r + R`,
/// `r + 2 R` and `r + 3 R`, lowest bits first, with `R` a quarter of the rows, rounded up.
pub fn strided_bytes(codes: &[i8], rows: usize) -> Vec<u8> {
    let columns = codes.len() / rows;
    let quarter = rows.div_ceil(4);
    let mut bytes = vec![0; quarter * columns];
    for (i, &code) in codes.iter().enumerate() {
        let (row, column) = (i / columns, i % columns);
        bytes[row % quarter * columns + column] |= ((code + 1) as u8) << (2 * (row / quarter));
    }
    bytes
}
