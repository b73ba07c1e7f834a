use super::{
    GgmlType, GgufArray, GgufError, GgufMetadata, GgufShape, GgufTensorInfo, GgufValue,
    GgufValueType, LoadOptions, cursor::Cursor, shape::MAX_DIMS, tensor_info::DEFAULT_ALIGNMENT,
};

pub(super) const MAGIC: &[u8; 4] = b"GGUF";
/// The version that is written; 2 differs from it in nothing that is read.
pub(super) const VERSION: u32 = 3;

/// Bytes of an empty key with the smallest value: its length, the type, a byte.
const SMALLEST_ENTRY: u64 = 8 + 4 + 1;
/// Bytes of a tensor with an empty name and one dimension: length of the name, number of
/// dimensions, the dimension, type, offset.
const SMALLEST_TENSOR: u64 = 8 + 4 + 8 + 4 + 8;

/// All of a file before the bytes of the tensors.
pub(super) struct Head {
    pub version: u32,
    pub metadata: GgufMetadata,
    pub tensors: Vec<GgufTensorInfo>,
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
            let value = value(&mut cursor, &key)?;
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

fn value_type(cursor: &mut Cursor<'_>, key: &str) -> Result<GgufValueType, GgufError> {
    let id = cursor.u32("type of a value")?;
    GgufValueType::from_id(id).ok_or_else(|| GgufError::ValueType {
        key: key.to_string(),
        found: id,
    })
}

fn boolean(byte: u8, key: &str) -> Result<bool, GgufError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(GgufError::Bool {
            key: key.to_string(),
            found,
        }),
    }
}

fn value(cursor: &mut Cursor<'_>, key: &str) -> Result<GgufValue, GgufError> {
    let what = "value";
    Ok(match value_type(cursor, key)? {
        GgufValueType::U8 => cursor.u8(what)?.into(),
        GgufValueType::I8 => (cursor.u8(what)? as i8).into(),
        GgufValueType::U16 => cursor.u16(what)?.into(),
        GgufValueType::I16 => (cursor.u16(what)? as i16).into(),
        GgufValueType::U32 => cursor.u32(what)?.into(),
        GgufValueType::I32 => (cursor.u32(what)? as i32).into(),
        GgufValueType::F32 => f32::from_bits(cursor.u32(what)?).into(),
        GgufValueType::Bool => boolean(cursor.u8(what)?, key)?.into(),
        GgufValueType::String => cursor.string(what)?.into(),
        GgufValueType::Array => array(cursor, key)?.into(),
        GgufValueType::U64 => cursor.u64(what)?.into(),
        GgufValueType::I64 => (cursor.u64(what)? as i64).into(),
        GgufValueType::F64 => f64::from_bits(cursor.u64(what)?).into(),
    })
}

fn array(cursor: &mut Cursor<'_>, key: &str) -> Result<GgufArray, GgufError> {
    let element_type = value_type(cursor, key)?;
    let count = cursor.u64("length of an array")?;
    Ok(match element_type {
        GgufValueType::U8 => GgufArray::U8(numbers(cursor, count, u8::from_le_bytes)?),
        GgufValueType::I8 => GgufArray::I8(numbers(cursor, count, i8::from_le_bytes)?),
        GgufValueType::U16 => GgufArray::U16(numbers(cursor, count, u16::from_le_bytes)?),
        GgufValueType::I16 => GgufArray::I16(numbers(cursor, count, i16::from_le_bytes)?),
        GgufValueType::U32 => GgufArray::U32(numbers(cursor, count, u32::from_le_bytes)?),
        GgufValueType::I32 => GgufArray::I32(numbers(cursor, count, i32::from_le_bytes)?),
        GgufValueType::F32 => GgufArray::F32(numbers(cursor, count, f32::from_le_bytes)?),
        GgufValueType::U64 => GgufArray::U64(numbers(cursor, count, u64::from_le_bytes)?),
        GgufValueType::I64 => GgufArray::I64(numbers(cursor, count, i64::from_le_bytes)?),
        GgufValueType::F64 => GgufArray::F64(numbers(cursor, count, f64::from_le_bytes)?),
        GgufValueType::Bool => {
            let bytes = cursor.take(count, "array")?.iter();
            let values = bytes.map(|&byte| boolean(byte, key));
            GgufArray::Bool(values.collect::<Result<_, _>>()?)
        }
        GgufValueType::String => {
            let count = cursor.check_count(count, size_of::<u64>() as u64, "strings")?;
            let mut strings = Vec::with_capacity(count);
            for _ in 0..count {
                strings.push(cursor.string("string of an array")?.to_string());
            }
            GgufArray::String(strings)
        }
        GgufValueType::Array => {
            return Err(GgufError::NestedArray {
                key: key.to_string(),
            });
        }
    })
}

/// The next `count` numbers of `N` bytes.
fn numbers<const N: usize, T>(
    cursor: &mut Cursor<'_>,
    count: u64,
    from_bytes: fn([u8; N]) -> T,
) -> Result<Vec<T>, GgufError> {
    let count = cursor.check_count(count, N as u64, "numbers")?;
    let bytes = cursor.take((count * N) as u64, "array")?;
    Ok(bytes
        .as_chunks()
        .0
        .iter()
        .map(|&word| from_bytes(word))
        .collect())
}

fn tensor_info(
    cursor: &mut Cursor<'_>,
    options: &LoadOptions,
) -> Result<GgufTensorInfo, GgufError> {
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
    GgufTensorInfo::new(name, shape, ggml_type, offset)
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
