use bitnet_burn::interop::gguf::{GgufMetadata, GgufReader, LoadOptions, load_from, tokenizer};
use burn::tensor::Device;

use super::tokenizer::{CONFIG_FILE, TOKENIZER_FILE, use_tokenizer};

/// Reads a GGUF file: its values, tensors, tokenizer, and language model, if it is one.
pub fn gguf(data: &[u8]) {
    for i2_s in [false, true] {
        let options = LoadOptions::new().with_i2_s(i2_s);
        let Ok(reader) = GgufReader::from_bytes(data, &options) else {
            continue;
        };
        tensors(&reader, data.len());
        if !i2_s {
            of_metadata(reader.metadata());
        }
        let _ = load_from(&reader, &options, &Device::default());
    }
}

fn tensors(reader: &GgufReader, length: usize) {
    let mut total = 0;
    for tensor in reader.tensors() {
        let shape = tensor.shape();
        let num_bytes = tensor.ggml_type().num_bytes(shape.row_len(), shape.rows());
        assert_eq!(num_bytes, Some(tensor.bytes().len() as u64));
        total += tensor.bytes().len();
        if let Ok(values) = tensor.decode() {
            assert_eq!(values.len() as u64, tensor.shape().num_elements());
        }
        let _ = tensor.decode_ternary();
    }
    assert!(total <= length);
}

fn of_metadata(metadata: &GgufMetadata) {
    let Ok(files) = tokenizer::from_metadata(metadata) else {
        return;
    };
    let files = [
        (TOKENIZER_FILE, files.tokenizer),
        (CONFIG_FILE, files.config),
    ];
    let files = files.map(|(name, value)| (name, value.to_string()));
    let files = files.iter().map(|(name, text)| (*name, text.as_bytes()));
    use_tokenizer(&super::folder::folder_bytes(files));
}
