//! All of a file before the bytes of the tensors.

use super::{
    GgmlType, GgufError, GgufMetadata, GgufShape, GgufValue, LoadOptions,
    cursor::Cursor,
    scalar::push_text,
    shape::MAX_DIMS,
    tensor_info::{DEFAULT_ALIGNMENT, TensorInfo},
};

const MAGIC: &[u8; 4] = b"GGUF";
/// The version that is written; 2 differs from it in nothing that is read.
const VERSION: u32 = 3;

/// Bytes of an empty key with the smallest value: its length, the type, a byte.
const SMALLEST_ENTRY: u64 = 8 + 4 + 1;
/// Bytes of a tensor with an empty name and one dimension: length of the name, number of
/// dimensions, the dimension, type, offset.
const SMALLEST_TENSOR: u64 = 8 + 4 + 8 + 4 + 8;

/// What the start of a file says.
pub(super) struct Head {
    pub version: u32,
    pub metadata: GgufMetadata,
    pub tensors: Vec<TensorInfo>,
    pub alignment: u64,
    /// Where the head ends; the bytes of the tensors begin at the next multiple of the alignment.
    pub end: u64,
}

impl Head {
    /// Parses the start of a file, of which all bytes are given.
    pub fn parse(bytes: &[u8], options: &LoadOptions) -> Result<Self, GgufError> {
        let mut cursor = Cursor::new(bytes);
        let version = version(&mut cursor)?;
        let num_tensors = cursor.u64("number of tensors")?;
        let num_entries = cursor.u64("number of keys")?;

        let num_entries = cursor.check_count(num_entries, SMALLEST_ENTRY, "keys")?;
        let mut metadata = GgufMetadata::new();
        for _ in 0..num_entries {
            let key = cursor.string("key")?.to_string();
            let value = GgufValue::read(&mut cursor, &key)?;
            metadata.insert(key, value)?;
        }
        let alignment = alignment(&metadata)?;

        let num_tensors = cursor.check_count(num_tensors, SMALLEST_TENSOR, "tensors")?;
        let mut tensors = Vec::with_capacity(num_tensors);
        for _ in 0..num_tensors {
            tensors.push(tensor_info(&mut cursor, options)?);
        }
        Ok(Self {
            version,
            metadata,
            tensors,
            alignment,
            end: cursor.offset(),
        })
    }
}

fn version(cursor: &mut Cursor<'_>) -> Result<u32, GgufError> {
    let length = cursor.remaining().min(MAGIC.len() as u64);
    let found = cursor.take(length, "magic")?;
    if found != MAGIC {
        return Err(GgufError::OtherKind {
            found: found.to_vec(),
        });
    }
    match cursor.u32("version")? {
        version @ 2..=VERSION => Ok(version),
        // A small number whose bytes are in the other order.
        version if version != 0 && version.trailing_zeros() >= 16 => Err(GgufError::BigEndian),
        found => Err(GgufError::Version { found }),
    }
}

/// The alignment that the metadata tell, or the format's own.
pub(super) fn alignment(metadata: &GgufMetadata) -> Result<u64, GgufError> {
    let alignment = metadata.optional::<u64>("general.alignment")?;
    let alignment = alignment.unwrap_or(DEFAULT_ALIGNMENT);
    // The format asks for a multiple of 8, llama.cpp for a power of two in 32 bits.
    if !alignment.is_power_of_two() || alignment < 8 || alignment > u32::MAX.into() {
        return Err(GgufError::Alignment { found: alignment });
    }
    Ok(alignment)
}

fn tensor_info(cursor: &mut Cursor<'_>, options: &LoadOptions) -> Result<TensorInfo, GgufError> {
    let name = cursor.string("name of a tensor")?.to_string();
    let num_dims = cursor.u32("number of dimensions")?;
    if num_dims == 0 || num_dims as usize > MAX_DIMS {
        return Err(GgufError::Dimensions {
            tensor: name,
            found: num_dims,
        });
    }
    let mut sizes = [0; MAX_DIMS];
    let sizes = &mut sizes[..num_dims as usize];
    for size in sizes.iter_mut() {
        *size = cursor.u64("size of a tensor")?;
    }
    let id = cursor.u32("type of a tensor")?;
    let offset = cursor.u64("offset of a tensor")?;
    let Some(shape) = GgufShape::from_ggml(sizes) else {
        return Err(GgufError::Shape {
            tensor: name,
            found: sizes.to_vec(),
        });
    };
    let ggml_type = tensor_type(&name, id, options)?;
    TensorInfo::new(name, shape, ggml_type, offset)
}

fn tensor_type(name: &str, id: u32, options: &LoadOptions) -> Result<GgmlType, GgufError> {
    let tensor = || name.to_string();
    match GgmlType::from_id(id) {
        Some(GgmlType::I2_S) if !options.i2_s => Err(GgufError::UnexpectedI2S { tensor: tensor() }),
        Some(ggml_type) => Ok(ggml_type),
        None => Err(GgufError::TensorType {
            tensor: tensor(),
            found: id,
        }),
    }
}

/// The bytes of a head, without the zeros behind it.
pub(super) fn head_bytes(metadata: &GgufMetadata, tensors: &[TensorInfo]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata.iter() {
        push_text(key, &mut bytes);
        value.push(&mut bytes);
    }
    for info in tensors {
        push_text(&info.name, &mut bytes);
        let sizes = info.shape.ggml();
        bytes.extend((sizes.len() as u32).to_le_bytes());
        bytes.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
        bytes.extend(info.ggml_type.id().to_le_bytes());
        bytes.extend(info.offset.to_le_bytes());
    }
    bytes
}
