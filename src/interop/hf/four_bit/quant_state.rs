//! The JSON object beside the codes of a weight.

use std::collections::BTreeMap;

use burn::tensor::FloatDType;
use safetensors::Dtype;
use serde::Deserialize;

use super::suffix::QUANT_STATE;
use crate::{
    interop::{
        architecture::Parameter,
        hf::{
            checkpoint::{Checkpoint, Entry},
            dtype::{dtype_name, dtype_of_name},
            error::TensorProblem,
            quantization::BitsAndBytesQuantization,
        },
    },
    ops::BLOCK,
    quant::{FourBitConfig, FourBitType},
};

/// Quantization of a weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::interop::hf) struct QuantState {
    pub config: FourBitConfig,
    /// Type of the values.
    pub dtype: FloatDType,
    /// Mean of the absolute maxima, with double quantization.
    pub offset: Option<f32>,
}

/// The object as bitsandbytes writes it.
#[derive(Debug, Deserialize)]
#[serde(rename = "quant_state", deny_unknown_fields)]
struct Fields {
    quant_type: String,
    blocksize: usize,
    dtype: String,
    shape: Vec<usize>,
    nested_blocksize: Option<usize>,
    nested_dtype: Option<String>,
    nested_offset: Option<f64>,
}

/// Reads the objects of weights by their names, and what is wrong with each.
pub(in crate::interop::hf) fn quant_states<'a>(
    checkpoint: &Checkpoint,
    weights: impl Iterator<Item = &'a Parameter>,
    quantization: &BitsAndBytesQuantization,
) -> (BTreeMap<String, QuantState>, Vec<TensorProblem>) {
    let (mut states, mut problems) = (BTreeMap::new(), Vec::new());
    for weight in weights {
        match read(checkpoint, weight, quantization) {
            Ok(state) => {
                states.insert(weight.hf.clone(), state);
            }
            Err(problem) => problems.push(problem),
        }
    }
    (states, problems)
}

fn read(
    checkpoint: &Checkpoint,
    weight: &Parameter,
    quantization: &BitsAndBytesQuantization,
) -> Result<QuantState, TensorProblem> {
    let (name, quant_type, entry) = find(checkpoint, &weight.hf)?;
    let problem = |reason: String| TensorProblem::Value {
        name: name.clone(),
        reason,
    };
    let fields: Fields = serde_json::from_slice(checkpoint.bytes(entry))
        .map_err(|error| problem(error.to_string()))?;
    let state = state(&fields, quant_type, &weight.shape).map_err(problem)?;
    check_config(&state.config, quantization).map_err(problem)?;
    Ok(state)
}

/// Finds the object of a weight, of which the name says the codes.
fn find<'a>(
    checkpoint: &'a Checkpoint,
    weight: &str,
) -> Result<(String, FourBitType, &'a Entry), TensorProblem> {
    let types = [FourBitType::Nf4, FourBitType::Fp4];
    let names = types.map(|quant_type| format!("{weight}{QUANT_STATE}{}", quant_type.name()));
    let value = |name: &str, reason: &str| TensorProblem::Value {
        name: name.to_string(),
        reason: reason.to_string(),
    };
    let (name, quant_type, entry) = match names.each_ref().map(|name| checkpoint.get(name)) {
        [Some(_), Some(_)] => return Err(value(&names[1], "is there beside one of nf4")),
        [Some(entry), None] => (&names[0], types[0], entry),
        [None, Some(entry)] => (&names[1], types[1], entry),
        [None, None] => {
            return Err(match checkpoint.get(weight) {
                Some(entry) if entry.info.dtype != Dtype::U8 => TensorProblem::DType {
                    name: weight.to_string(),
                    expected: "U8",
                    found: format!("{:?}", entry.info.dtype),
                },
                _ => value(&names[0], "missing, as is one of fp4"),
            });
        }
    };
    match entry.info.dtype {
        Dtype::U8 => Ok((name.clone(), quant_type, entry)),
        found => Err(TensorProblem::DType {
            name: name.clone(),
            expected: "U8",
            found: format!("{found:?}"),
        }),
    }
}

fn state(fields: &Fields, quant_type: FourBitType, shape: &[usize]) -> Result<QuantState, String> {
    if fields.quant_type != quant_type.name() {
        let (found, name) = (&fields.quant_type, quant_type.name());
        return Err(format!("quant_type is {found}, under the name of {name}"));
    }
    if fields.shape != shape {
        return Err(format!("shape is {:?}, expected {shape:?}", fields.shape));
    }
    let block_size = fields.blocksize;
    let config = FourBitConfig {
        quant_type,
        block_size,
        double_quant: fields.nested_offset.is_some(),
    };
    if config.validate().is_err() {
        return Err(format!(
            "blocksize is {block_size}, expected a power of two from 32 to 4096"
        ));
    }
    let dtype = dtype_of_name(&fields.dtype).ok_or_else(|| {
        let found = &fields.dtype;
        format!("dtype is {found}, expected float32, float16 or bfloat16")
    })?;
    Ok(QuantState {
        config,
        dtype,
        offset: offset(fields)?,
    })
}

/// The mean of the absolute maxima.
fn offset(fields: &Fields) -> Result<Option<f32>, String> {
    let nested = (
        fields.nested_offset,
        fields.nested_blocksize,
        fields.nested_dtype.as_deref(),
    );
    match nested {
        (None, None, None) => Ok(None),
        (Some(offset), Some(BLOCK), Some("float32")) => match offset as f32 {
            offset if offset.is_finite() => Ok(Some(offset)),
            offset => Err(format!("nested_offset is {offset}")),
        },
        (offset, block_size, dtype) => Err(format!(
            "nested_offset, nested_blocksize and nested_dtype are {offset:?}, {block_size:?} and {dtype:?}, expected \
             none of them, or a number, {BLOCK} and float32"
        )),
    }
}

/// Compares with what `config.json` says of all weights.
fn check_config(
    config: &FourBitConfig,
    quantization: &BitsAndBytesQuantization,
) -> Result<(), String> {
    let found = config.quant_type;
    if let Some(expected) = quantization.quant_type.filter(|e| *e != found) {
        return Err(format!(
            "quant_type is {}, and bnb_4bit_quant_type of config.json is {}",
            found.name(),
            expected.name()
        ));
    }
    let found = config.double_quant;
    match quantization.double_quant.filter(|e| *e != found) {
        Some(expected) => Err(format!(
            "nested_offset is {}, and bnb_4bit_use_double_quant of config.json is {expected}",
            if found { "there" } else { "missing" }
        )),
        None => Ok(()),
    }
}

impl QuantState {
    /// Returns the object, in the bytes of Python's `json.dumps`.
    pub(super) fn json(&self, shape: [usize; 2]) -> String {
        let Self { config, dtype, .. } = self;
        let [rows, columns] = shape;
        let nested = match self.offset {
            None => String::new(),
            Some(offset) => format!(
                ", \"nested_blocksize\": {BLOCK}, \"nested_dtype\": \"float32\", \"nested_offset\": {}",
                python_float(offset.into())
            ),
        };
        format!(
            "{{\"quant_type\": \"{}\", \"blocksize\": {}, \"dtype\": \"{}\", \"shape\": [{rows}, {columns}]{nested}}}",
            config.quant_type.name(),
            config.block_size,
            dtype_name(*dtype),
        )
    }
}

/// Returns a number as Python writes it: the shortest digits that give it back, with an exponent of two digits
/// or more below 1e-4 and from 1e16 on.
fn python_float(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-4..1e16).contains(&magnitude) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').expect("a number with an exponent");
    match exponent.strip_prefix('-') {
        Some(exponent) => format!("{digits}e-{exponent:0>2}"),
        None => format!("{digits}e+{exponent:0>2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_python() {
        for (value, text) in [
            (0.05153144896030426, "0.05153144896030426"),
            (0.0, "0.0"),
            (3.0, "3.0"),
            (1e-4, "0.0001"),
            (9.999999747378752e-6, "9.999999747378752e-06"),
            (1e-5, "1e-05"),
            (1.5e-38, "1.5e-38"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (1e15, "1000000000000000.0"),
        ] {
            assert_eq!(python_float(value), text);
        }
    }

    #[test]
    fn an_object_is_that_of_bitsandbytes() {
        let plain = QuantState {
            config: FourBitConfig::new(FourBitType::Fp4).with_double_quant(false),
            dtype: FloatDType::BF16,
            offset: None,
        };
        let text =
            r#"{"quant_type": "fp4", "blocksize": 64, "dtype": "bfloat16", "shape": [32, 48]}"#;
        assert_eq!(plain.json([32, 48]), text);
        let fields: Fields = serde_json::from_str(text).unwrap();
        assert_eq!(state(&fields, FourBitType::Fp4, &[32, 48]), Ok(plain));
    }
}
