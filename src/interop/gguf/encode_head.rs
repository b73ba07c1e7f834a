use super::{
    GgufArray, GgufMetadata, GgufTensorInfo, GgufValue,
    parse::{MAGIC, VERSION},
};

/// All of a file before the bytes of the tensors, without the zeros between.
pub(super) fn head(metadata: &GgufMetadata, tensors: &[GgufTensorInfo]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata.iter() {
        push_string(&mut bytes, key);
        bytes.extend(value.value_type().id().to_le_bytes());
        push_value(&mut bytes, value);
    }
    for info in tensors {
        push_string(&mut bytes, info.name());
        let sizes = info.shape();
        let sizes = sizes.ggml();
        bytes.extend((sizes.len() as u32).to_le_bytes());
        bytes.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
        bytes.extend(info.ggml_type().id().to_le_bytes());
        bytes.extend(info.offset().to_le_bytes());
    }
    bytes
}

fn push_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn push_value(bytes: &mut Vec<u8>, value: &GgufValue) {
    match value {
        GgufValue::U8(value) => bytes.extend(value.to_le_bytes()),
        GgufValue::I8(value) => bytes.extend(value.to_le_bytes()),
        GgufValue::U16(value) => bytes.extend(value.to_le_bytes()),
        GgufValue::I16(value) => bytes.extend(value.to_le_bytes()),
        GgufValue::U32(value) => bytes.extend(value.to_le_bytes()),
        GgufValue::I32(value) => bytes.extend(value.to_le_bytes()),
        GgufValue::F32(value) => bytes.extend(value.to_le_bytes()),
        GgufValue::Bool(value) => bytes.push(u8::from(*value)),
        GgufValue::String(value) => push_string(bytes, value),
        GgufValue::Array(array) => push_array(bytes, array),
        GgufValue::U64(value) => bytes.extend(value.to_le_bytes()),
        GgufValue::I64(value) => bytes.extend(value.to_le_bytes()),
        GgufValue::F64(value) => bytes.extend(value.to_le_bytes()),
    }
}

fn push_array(bytes: &mut Vec<u8>, array: &GgufArray) {
    bytes.extend(array.element_type().id().to_le_bytes());
    bytes.extend((array.len() as u64).to_le_bytes());
    match array {
        GgufArray::U8(elements) => bytes.extend(elements),
        GgufArray::I8(elements) => bytes.extend(elements.iter().flat_map(|x| x.to_le_bytes())),
        GgufArray::U16(elements) => bytes.extend(elements.iter().flat_map(|x| x.to_le_bytes())),
        GgufArray::I16(elements) => bytes.extend(elements.iter().flat_map(|x| x.to_le_bytes())),
        GgufArray::U32(elements) => bytes.extend(elements.iter().flat_map(|x| x.to_le_bytes())),
        GgufArray::I32(elements) => bytes.extend(elements.iter().flat_map(|x| x.to_le_bytes())),
        GgufArray::F32(elements) => bytes.extend(elements.iter().flat_map(|x| x.to_le_bytes())),
        GgufArray::Bool(elements) => bytes.extend(elements.iter().map(|&x| u8::from(x))),
        GgufArray::String(elements) => elements.iter().for_each(|text| push_string(bytes, text)),
        GgufArray::U64(elements) => bytes.extend(elements.iter().flat_map(|x| x.to_le_bytes())),
        GgufArray::I64(elements) => bytes.extend(elements.iter().flat_map(|x| x.to_le_bytes())),
        GgufArray::F64(elements) => bytes.extend(elements.iter().flat_map(|x| x.to_le_bytes())),
    }
}
