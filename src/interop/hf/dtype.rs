//! The float types of safetensors files.

use burn::tensor::FloatDType;
use safetensors::Dtype;

/// Names of the float types, for an error.
pub(super) const FLOAT_TYPES: &str = "F32, F16 or BF16";

/// The type of a tensor that holds what a file of this type does; `None` for types that are none.
pub(super) fn float_dtype(dtype: Dtype) -> Option<FloatDType> {
    match dtype {
        Dtype::F32 => Some(FloatDType::F32),
        Dtype::F16 => Some(FloatDType::F16),
        Dtype::BF16 => Some(FloatDType::BF16),
        _ => None,
    }
}

/// The type of a file that holds what a tensor of this type does.
pub(super) fn file_dtype(dtype: FloatDType) -> Dtype {
    match dtype {
        FloatDType::F16 => Dtype::F16,
        FloatDType::BF16 => Dtype::BF16,
        _ => Dtype::F32,
    }
}

/// The name of a type in `config.json`.
pub(super) fn dtype_name(dtype: FloatDType) -> &'static str {
    match dtype {
        FloatDType::F16 => "float16",
        FloatDType::BF16 => "bfloat16",
        _ => "float32",
    }
}

/// The type of a name in `config.json`; `None` for types that are none of them.
pub(super) fn dtype_of_name(name: &str) -> Option<FloatDType> {
    let types = [FloatDType::F32, FloatDType::F16, FloatDType::BF16];
    types.into_iter().find(|dtype| dtype_name(*dtype) == name)
}
