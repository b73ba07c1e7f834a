use burn::backend::{DType, Element, Shape, TensorData};
use burn_flex::FlexTensor;
use half::{bf16, f16};

use super::half_precision::{narrowed, widened};

/// Creates a contiguous tensor from its values.
pub(super) fn tensor<E: Element>(values: Vec<E>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Calls `f` with the `f32` values of a float tensor, row-major: borrowed if stored so, else copied.
pub(super) fn with_values<R>(input: &FlexTensor, f: impl FnOnce(&[f32]) -> R) -> R {
    if let Some(values) = input.as_slice::<f32>() {
        return f(values);
    }
    let input = input.to_contiguous();
    match input.dtype() {
        DType::F32 => f(input.storage::<f32>()),
        DType::F16 => f(&widened(input.storage::<f16>())),
        DType::BF16 => f(&widened(input.storage::<bf16>())),
        dtype => panic!("quantization takes f32, f16 or bf16 values, got {dtype:?}"),
    }
}

/// Creates a float tensor of type `dtype` from `f32` values.
pub(super) fn from_values(values: Vec<f32>, shape: Shape, dtype: DType) -> FlexTensor {
    match dtype {
        DType::F32 => tensor(values, shape),
        DType::F16 => tensor(narrowed::<f16>(&values), shape),
        DType::BF16 => tensor(narrowed::<bf16>(&values), shape),
        dtype => panic!("quantization gives f32, f16 or bf16 values, not {dtype:?}"),
    }
}
