//! Folders of 4-bit weights that say what cannot be, or are not supported: each is refused with tensor and field.

use std::fs;

use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::{four_bit::folder, models::*};

/// Returns the error of the NF4 folder with another configuration.
fn config_error(change: impl FnOnce(&mut Value)) -> String {
    let copy = copy();
    edit(copy.path(), "config.json", |json| {
        change(&mut json["quantization_config"]);
    });
    load_error(copy.path()).to_string()
}

fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(folder("nf4").join(name), copy.path().join(name)).unwrap();
    }
    copy
}

#[test]
fn what_changes_the_weights_and_is_not_supported_is_refused_by_name() {
    for (key, value, message) in [
        ("load_in_8bit", json!(true), "load_in_8bit is true"),
        ("load_in_4bit", json!(false), "load_in_4bit is false"),
        (
            "bnb_4bit_quant_storage",
            json!("bfloat16"),
            "bnb_4bit_quant_storage is bfloat16, supported is uint8",
        ),
        (
            "bnb_4bit_quant_type",
            json!("int4"),
            "bnb_4bit_quant_type is int4, supported is nf4 or fp4",
        ),
        (
            "bnb_4bit_compute_dtype",
            json!("float64"),
            "bnb_4bit_compute_dtype is float64",
        ),
        (
            "bnb_4bit_quant_type",
            json!("fp4"),
            "quant_type is nf4, and bnb_4bit_quant_type of config.json is fp4",
        ),
        (
            "bnb_4bit_use_double_quant",
            json!(false),
            "nested_offset is there, and bnb_4bit_use_double_quant",
        ),
        (
            "llm_int8_skip_modules",
            json!(["model.layers.0"]),
            "llm_int8_skip_modules is [\"model.layers.0\"]",
        ),
        (
            "llm_int8_skip_modules",
            json!(["lm_head", "o_proj"]),
            "o_proj.weight: expected F32, F16 or BF16, found U8",
        ),
        (
            "quant_method",
            json!("gptq"),
            "quant_method is gptq, supported is bitnet or bitsandbytes",
        ),
    ] {
        let error = config_error(|json| json[key] = value);
        assert!(error.contains(message), "{error}");
    }
    let copy = copy();
    edit(copy.path(), "config.json", |json| {
        json["quantization_config"].take();
    });
    let error = load_error(copy.path()).to_string();
    assert!(
        error.contains("quantization_config is none of bitsandbytes"),
        "{error}"
    );
}

/// Returns the error of the NF4 folder with another tensor of a weight, or none if it has no bytes.
fn tensor_error(suffix: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let name = format!("model.layers.0.self_attn.q_proj.weight{suffix}");
    let copy = copy();
    let path = copy.path().join("model.safetensors");
    let file = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let mut views = file.tensors();
    let at = views.iter().position(|(n, _)| *n == name).unwrap();
    let (_, old) = views.remove(at);
    let mut bytes = old.data().to_vec();
    change(&mut bytes);
    let length = bytes.len() * 8 / old.dtype().bitsize();
    let shape = match old.shape() {
        [_, columns] => vec![length, *columns],
        _ => vec![length],
    };
    if !bytes.is_empty() {
        let view = safetensors::tensor::TensorView::new(old.dtype(), shape, &bytes);
        views.push((name, view.unwrap()));
    }
    let new = safetensors::serialize(views, None).unwrap();
    fs::write(&path, new).unwrap();
    load_error(copy.path()).to_string()
}

const STATE: &str = ".quant_state.bitsandbytes__nf4";

#[test]
fn damaged_weights_are_refused_with_tensor_and_field() {
    let state = |from: &str, to: &str| {
        tensor_error(STATE, |bytes| {
            let text = String::from_utf8(bytes.clone()).unwrap();
            assert!(text.contains(from), "{text}");
            *bytes = text.replace(from, to).into_bytes();
        })
    };
    for (from, to, message) in [
        ("nf4", "fp4", "quant_type is fp4, under the name of nf4"),
        (
            "64",
            "48",
            "blocksize is 48, expected a power of two from 32 to 4096",
        ),
        ("64", "128", "weight.absmax: expected shape [8], found [16]"),
        (
            "[32, 32]",
            "[16, 64]",
            "shape is [16, 64], expected [32, 32]",
        ),
        (
            "\"dtype\": \"float32\", \"shape",
            "\"dtype\": \"int8\", \"shape",
            "dtype is int8",
        ),
        ("256", "128", "nested_blocksize and nested_dtype are Some("),
        (
            "\"blocksize\"",
            "\"block_size\"",
            "unknown field `block_size`",
        ),
        (
            "0.",
            "9999999999999999999999999999999999999999.",
            "nested_offset is inf",
        ),
        (
            "{",
            "",
            "quant_state.bitsandbytes__nf4: invalid type: string \"quant_type\"",
        ),
    ] {
        let error = state(from, to);
        assert!(error.contains(message), "{error}");
        assert!(
            error.contains("model.layers.0.self_attn.q_proj.weight"),
            "{error}"
        );
    }
    let nan = |bytes: &mut Vec<u8>| bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: [(&str, Change<'_>, &str); 7] = [
        (STATE, &Vec::clear, "quant_state.bitsandbytes__nf4: missing"),
        (
            "",
            &|bytes| bytes.truncate(511),
            "weight: expected shape [512, 1], found [511, 1]",
        ),
        (
            ".absmax",
            &Vec::clear,
            "weight.absmax: missing, expected [16]",
        ),
        (
            ".quant_map",
            &nan,
            "weight.quant_map: code 0 is NaN, expected -1",
        ),
        (
            ".quant_map",
            &|bytes| bytes.rotate_left(4),
            "weight.quant_map: code 0 is -0.69619",
        ),
        (
            ".nested_quant_map",
            &|bytes| bytes.rotate_left(4),
            "weight.nested_quant_map: code 0 is",
        ),
        (
            ".nested_absmax",
            &nan,
            "weight.nested_absmax: value 0 is not finite",
        ),
    ];
    for (suffix, change, message) in cases {
        let error = tensor_error(suffix, change);
        assert!(error.contains(message), "{error}");
    }
}
