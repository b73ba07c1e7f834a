//! GGUF files: written files are read back, and files of the Python package are read.

use std::{fs, path::Path};

use crate::support::oracle::data_path;
use bitnet_burn::interop::gguf::{
    GgmlType, GgufError, GgufMetadata, GgufReader, GgufShape, GgufValue, GgufWriter, LoadOptions,
    TernaryScales, encode, encode_ternary,
};

pub fn read(bytes: &[u8]) -> Result<GgufReader, GgufError> {
    GgufReader::from_bytes(bytes, &LoadOptions::new())
}

pub fn shape(sizes: &[usize]) -> GgufShape {
    GgufShape::from_row_major(sizes).unwrap()
}

/// Returns a file of one tensor, `w`.
pub fn file_of(
    ggml_type: GgmlType,
    shape: GgufShape,
    bytes: &[u8],
) -> Result<GgufReader, GgufError> {
    let mut writer = GgufWriter::new(GgufMetadata::new())?;
    writer.add_bytes("w", ggml_type, shape, bytes)?;
    GgufReader::from_bytes(writer.to_bytes()?, &LoadOptions::new().with_i2_s(true))
}

/// Returns the numbers of a tensor with these bytes.
pub fn decode(ggml_type: GgmlType, shape: GgufShape, bytes: &[u8]) -> Result<Vec<f32>, GgufError> {
    file_of(ggml_type, shape, bytes)?.tensor("w")?.decode()
}

/// Metadata with keys of all types.
fn metadata() -> GgufMetadata {
    let values: [(&str, GgufValue); 25] = [
        ("u8", 200u8.into()),
        ("i8", (-100i8).into()),
        ("u16", 60_000u16.into()),
        ("i16", (-30_000i16).into()),
        ("u32", u32::MAX.into()),
        ("i32", i32::MIN.into()),
        ("f32", f32::MIN_POSITIVE.into()),
        ("bool", true.into()),
        ("string", "Gebäck 🦙".into()),
        ("u64", u64::MAX.into()),
        ("i64", i64::MIN.into()),
        ("f64", 1e300.into()),
        ("u8s", vec![1u8, 2].into()),
        ("i8s", vec![-1i8, 2].into()),
        ("u16s", vec![1u16, 2].into()),
        ("i16s", vec![-1i16, 2].into()),
        ("u32s", vec![1u32, 2].into()),
        ("i32s", vec![-1i32, 2].into()),
        ("f32s", vec![0.5f32, -0.0].into()),
        ("bools", vec![true, false, true].into()),
        ("strings", vec![String::new(), "ab".to_string()].into()),
        ("u64s", vec![1u64, 2].into()),
        ("i64s", vec![-1i64, 2].into()),
        ("f64s", vec![0.25f64].into()),
        ("none", Vec::<String>::new().into()),
    ];
    let mut metadata = GgufMetadata::new();
    for (key, value) in values {
        metadata.insert(key, value).unwrap();
    }
    metadata
}

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i as f32 - 100.0) / 64.0).collect()
}

/// Creates a file with a tensor of every type that has a codec.
pub fn writer() -> GgufWriter<'static> {
    let mut writer = GgufWriter::new(metadata()).unwrap();
    for ggml_type in [GgmlType::F32, GgmlType::F16, GgmlType::BF16, GgmlType::Q8_0] {
        let bytes = encode("w", ggml_type, shape(&[3, 32]), &values(96)).unwrap();
        let name = format!("{ggml_type}.weight");
        writer
            .add_bytes(name, ggml_type, shape(&[3, 32]), bytes)
            .unwrap();
    }
    for ggml_type in [GgmlType::TQ1_0, GgmlType::TQ2_0] {
        writer
            .add(
                format!("{ggml_type}.weight"),
                ggml_type,
                shape(&[2, 256]),
                move || {
                    let codes: Vec<i8> = (0..512).map(|i| (i % 3) as i8 - 1).collect();
                    let scales = TernaryScales::Tensor(0.5);
                    Ok(encode_ternary("w", ggml_type, shape(&[2, 256]), &codes, scales)?.into())
                },
            )
            .unwrap();
    }
    writer
        .add_bytes("norm", GgmlType::F32, shape(&[5]), vec![1; 20])
        .unwrap();
    writer
}

#[test]
fn a_file_of_the_package_is_read() {
    let reader = GgufReader::open(data_path("e_tiny.gguf")).unwrap();
    assert_eq!(reader.version(), 3);
    let metadata = reader.metadata();
    assert_eq!(
        metadata.required::<&str>("general.architecture").unwrap(),
        "bitnet-b1.58"
    );
    assert!(
        metadata
            .required::<f32>("bitnet-b1.58.attention.layer_norm_rms_epsilon")
            .is_ok()
    );
    assert!(
        metadata
            .required::<usize>("bitnet-b1.58.block_count")
            .is_ok()
    );

    let tensors: Vec<_> = reader
        .tensors()
        .map(|tensor| {
            (
                tensor.name(),
                tensor.ggml_type(),
                tensor.shape().row_major(),
                tensor.bytes().len(),
            )
        })
        .collect();
    assert_eq!(
        tensors,
        [
            ("blk.0.attn_q.weight", GgmlType::TQ2_0, vec![3, 512], 396),
            ("blk.0.ffn_down.weight", GgmlType::TQ1_0, vec![4, 256], 216),
            ("output_norm.weight", GgmlType::F32, vec![256], 1024),
            ("token_embd.weight", GgmlType::F16, vec![4, 256], 2048),
        ]
    );
    // The weights of the oracle's cases, with scales in half precision.
    let query = reader
        .tensor("blk.0.attn_q.weight")
        .unwrap()
        .decode_ternary()
        .unwrap();
    assert_eq!(
        query.tensor_scale(),
        Some(half::f16::from_f32(0.0371).to_f32())
    );
    let down = reader
        .tensor("blk.0.ffn_down.weight")
        .unwrap()
        .decode_ternary()
        .unwrap();
    assert_eq!(down.row_scales(256).unwrap().len(), 4);
    assert_eq!(down.tensor_scale(), None);
    assert!(reader.tensor("output.weight").is_err());
}

#[test]
fn a_file_of_the_package_is_written_again() {
    let bytes = fs::read(data_path("e_tiny.gguf")).unwrap();
    let reader = read(&bytes).unwrap();
    let mut writer = GgufWriter::new(reader.metadata().clone()).unwrap();
    for tensor in reader.tensors() {
        let (name, ggml_type) = (tensor.name(), tensor.ggml_type());
        writer
            .add(name, ggml_type, tensor.shape(), move || {
                Ok(tensor.bytes().into())
            })
            .unwrap();
    }
    assert!(writer.to_bytes().unwrap() == bytes);
}

#[test]
fn written_files_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, "an older file").unwrap();
    writer().write(&path).unwrap();
    let reader = GgufReader::open(&path).unwrap();
    assert_eq!(reader.metadata(), &metadata());
    assert_eq!(reader.tensors().len(), 7);
    for tensor in reader.tensors() {
        assert!(tensor.offset().is_multiple_of(32));
        let shape = tensor.shape();
        let num_bytes = tensor.ggml_type().num_bytes(shape.row_len(), shape.rows());
        assert_eq!(num_bytes, Some(tensor.bytes().len() as u64));
    }
    let decoded = |name: &str| reader.tensor(name).unwrap().decode().unwrap();
    assert_eq!(decoded("F32.weight"), values(96));
    assert_eq!(decoded("F16.weight"), values(96));
    assert_eq!(decoded("TQ1_0.weight"), decoded("TQ2_0.weight"));
    assert_eq!(decoded("TQ1_0.weight")[..4], [-0.5, 0.0, 0.5, -0.5]);
    assert_eq!(fs::metadata(&path).unwrap().len() % 32, 0);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    #[cfg(unix)]
    {
        let other = folder.path().join("other");
        fs::write(&other, "").unwrap();
        let permissions = |path: &Path| fs::metadata(path).unwrap().permissions();
        assert_eq!(permissions(&path), permissions(&other));
    }
}

#[test]
fn an_alignment_is_kept() {
    let mut metadata = GgufMetadata::new();
    metadata.insert("general.alignment", 64u32).unwrap();
    let mut writer = GgufWriter::new(metadata.clone()).unwrap();
    for name in ["a", "b"] {
        writer
            .add_bytes(name, GgmlType::I8, shape(&[3]), vec![7; 3])
            .unwrap();
    }
    let bytes = writer.to_bytes().unwrap();
    assert_eq!(bytes.len() % 64, 0);
    let reader = read(&bytes).unwrap();
    assert_eq!(reader.tensor("b").unwrap().offset(), 64);
    assert_eq!(reader.tensor("b").unwrap().bytes(), [7; 3]);
    for wrong in [0u32, 4, 48] {
        metadata.replace("general.alignment", wrong).unwrap();
        let error = GgufWriter::new(metadata.clone()).err().unwrap();
        assert!(matches!(error, GgufError::Alignment { found } if found == u64::from(wrong)));
    }
}

#[test]
fn an_older_file_stays_if_writing_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    writer().write(&path).unwrap();
    let before = fs::read(&path).unwrap();

    let mut failing = writer();
    failing
        .add("bad", GgmlType::F32, shape(&[1]), || {
            Err("no more weights".into())
        })
        .unwrap();
    let error = failing.write(&path).unwrap_err();
    assert_eq!(error.to_string(), "tensor `bad`: no more weights");
    let mut short = writer();
    short
        .add(
            "short",
            GgmlType::F32,
            shape(&[2]),
            || Ok(vec![0; 4].into()),
        )
        .unwrap();
    let error = short.write(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tensor `short`: expected 8 bytes, found 4"
    );

    assert!(fs::read(&path).unwrap() == before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let nowhere = folder.path().join("none/model.gguf");
    assert!(matches!(writer().write(nowhere), Err(GgufError::Io { .. })));
}

#[test]
fn adding_rejects_invalid_tensors() {
    let mut writer = writer();
    let mut add = |name: &str, ggml_type, sizes: &[usize], bytes: usize| {
        let result = writer.add_bytes(name, ggml_type, shape(sizes), vec![0; bytes]);
        result.unwrap_err()
    };
    let error = add("norm", GgmlType::F32, &[1], 4);
    assert!(matches!(error, GgufError::DuplicateTensor { .. }));
    let error = add("w", GgmlType::F32, &[2], 4);
    assert!(matches!(
        error,
        GgufError::Length {
            expected: 8,
            found: 4,
            ..
        }
    ));
    let error = add("w", GgmlType::TQ2_0, &[2, 128], 66);
    assert!(matches!(error, GgufError::RowLength { .. }));
    for length in [0, 64] {
        let error = add(&"w".repeat(length), GgmlType::F32, &[1], 4);
        assert!(matches!(error, GgufError::TensorName { limit: 63, .. }));
    }
    let longest = "w".repeat(63);
    writer
        .add_bytes(longest, GgmlType::F32, shape(&[1]), vec![0; 4])
        .unwrap();
}

#[test]
fn type_36_is_read_on_demand() {
    let codes = vec![1i8; 128];
    let scales = TernaryScales::Tensor(0.3);
    let bytes = encode_ternary("w", GgmlType::I2_S, shape(&[2, 64]), &codes, scales).unwrap();
    let mut writer = GgufWriter::new(GgufMetadata::new()).unwrap();
    writer
        .add_bytes("w", GgmlType::I2_S, shape(&[2, 64]), bytes)
        .unwrap();
    let bytes = writer.to_bytes().unwrap();
    let error = read(&bytes).unwrap_err();
    assert!(error.to_string().contains("with_i2_s(true)"), "{error}");
    let options = LoadOptions::new().with_i2_s(true);
    let reader = GgufReader::from_bytes(bytes, &options).unwrap();
    assert_eq!(reader.tensor("w").unwrap().decode().unwrap(), [0.3; 128]);
}
