use super::{
    GgufMetadata, GgufTensorInfo, GgufValue,
    parse::{MAGIC, VERSION},
    scalar::{Scalar, push_text},
    value::{GgufArray, with_elements, with_value},
};

/// All of a file before the bytes of the tensors, without the zeros between.
pub(super) fn head(metadata: &GgufMetadata, tensors: &[GgufTensorInfo]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata.iter() {
        push_text(key, &mut bytes);
        bytes.extend(value.value_type().id().to_le_bytes());
        push_value(&mut bytes, value);
    }
    for info in tensors {
        push_text(info.name(), &mut bytes);
        let sizes = info.shape();
        let sizes = sizes.ggml();
        bytes.extend((sizes.len() as u32).to_le_bytes());
        bytes.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
        bytes.extend(info.ggml_type().id().to_le_bytes());
        bytes.extend(info.offset().to_le_bytes());
    }
    bytes
}

fn push_value(bytes: &mut Vec<u8>, value: &GgufValue) {
    with_value!(value, value => value.push(bytes), array => {
        bytes.extend(array.element_type().id().to_le_bytes());
        bytes.extend((array.len() as u64).to_le_bytes());
        with_elements!(array, elements => elements.iter().for_each(|x| x.push(bytes)));
    })
}
