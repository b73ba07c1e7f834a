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
        assert_eq!(tensor.bytes().len() as u64, tensor.info().num_bytes());
        total += tensor.bytes().len();
        if let Ok(values) = tensor.decode() {
            assert_eq!(values.len() as u64, tensor.shape().num_elements());
        }
        let _ = tensor.decode_ternary();
    }
    assert!(total <= length);
}

fn of_metadata(metadata: &GgufMetadata) {
    let json = tokenizer::from_metadata(metadata);
    let config = tokenizer::config_from_metadata(metadata);
    let (Ok(json), Ok(config)) = (json, config) else {
        return;
    };
    let files = [(TOKENIZER_FILE, json), (CONFIG_FILE, config)];
    let files = files.map(|(name, value)| (name, value.to_string()));
    let files = files.iter().map(|(name, text)| (*name, text.as_bytes()));
    use_tokenizer(&super::folder::folder_bytes(files));
}
