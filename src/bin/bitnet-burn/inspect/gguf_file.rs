//! GGUF files.

use std::{fmt::Write, path::Path};

use bitnet_burn::interop::gguf::{GgufError, GgufReader, GgufTensor, GgufValue, LoadOptions};
use serde_json::{Map, Value, json};

use super::{
    Found, adapter,
    tensor::{self, Tensor, Values},
};
use crate::{adapter_file::is_adapter, error::Failure};

/// Maximum number of printed array elements; vocabularies have a hundred thousand.
const SHOWN: usize = 8;

pub fn file(path: &Path, i2_s: bool, values: bool) -> Result<Found, Failure> {
    let options = LoadOptions::new().with_i2_s(i2_s);
    let reader = GgufReader::open_with(path, &options)?;
    let metadata: Map<String, Value> = (reader.metadata().iter())
        .map(|(key, value)| (key.to_string(), shown(value)))
        .collect();
    let tensors = reader.tensors().map(|tensor| {
        let values = match values {
            true => self::values(&reader, &tensor)?,
            false => Values::Unknown {},
        };
        Ok(Tensor {
            name: tensor.name().to_string(),
            dtype: tensor.ggml_type().to_string(),
            shape: tensor.shape().row_major(),
            bytes: tensor.bytes().len(),
            values,
        })
    });
    let tensors: Vec<Tensor> = tensors.collect::<Result<_, GgufError>>()?;
    let summary = match is_adapter(reader.metadata()) {
        true => Some(adapter::of_gguf(reader.metadata(), &tensors)?),
        false => None,
    };
    let mut text = match &summary {
        Some(summary) => summary.to_string(),
        None => String::new(),
    };
    let _ = writeln!(
        text,
        "version {}, {} keys",
        reader.version(),
        metadata.len()
    );
    for (key, value) in &metadata {
        let value = value.to_string();
        let short: String = value.chars().take(90).collect();
        let dots = if short.len() < value.len() { "..." } else { "" };
        let _ = writeln!(text, "  {key} = {short}{dots}");
    }
    text += &tensor::text(&tensors);
    let mut json = json!({
        "version": reader.version(),
        "metadata": metadata,
        "tensors": tensors,
    });
    let kind = match summary {
        Some(summary) => {
            json["adapter"] = json!(summary);
            "GGUF adapter"
        }
        None => "GGUF",
    };
    Ok(Found { kind, json, text })
}

fn values(reader: &GgufReader, tensor: &GgufTensor<'_>) -> Result<Values, GgufError> {
    let is_matrix = tensor.shape().row_major().len() == 2;
    let beside = tensor.name().strip_suffix(".weight");
    let beside = beside.and_then(|name| reader.tensor(&format!("{name}.scale")).ok());
    let beside = match beside {
        Some(scale) => scale.decode()?.first().copied(),
        None => None,
    };
    let found = match tensor.ggml_type() {
        ggml_type if ggml_type.is_ternary() => {
            let ternary = tensor.decode_ternary()?;
            let scale = ternary.tensor_scale();
            Values::of_codes(ternary.into_codes(), scale)
        }
        ggml_type if ggml_type.is_decoded() => Values::of_floats(&tensor.decode()?, is_matrix),
        _ => Values::Unknown {},
    };
    Ok(match (found, beside) {
        (Values::Codes { counts, scale }, Some(beside)) => Values::Codes {
            counts,
            scale: scale.map(|scale| scale * beside),
        },
        (found, _) => found,
    })
}

/// Converts a value to JSON; long arrays become their length and first elements.
fn shown(value: &GgufValue) -> Value {
    let json = value.to_json(SHOWN);
    match value {
        GgufValue::Array(array) if array.len() > SHOWN => {
            json!({"len": array.len(), "first": json})
        }
        _ => json,
    }
}
