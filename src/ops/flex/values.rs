use std::ops::Deref;

use bitnet_burn_kernels::Groups;
use burn::backend::{DType, Element, Shape, TensorData};
use burn_flex::FlexTensor;
use half::{bf16, f16};

use super::half_precision::{narrowed, widened};

/// Creates a contiguous tensor from its values.
pub(super) fn tensor<E: Element>(values: Vec<E>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Creates the tensor `[outer, inner]` of one value for each group.
pub(super) fn per_group(values: Vec<f32>, groups: Groups) -> FlexTensor {
    tensor(values, Shape::new(groups.scale_shape()))
}

/// The `f32` values of a float tensor, row-major: borrowed if stored so, else copied.
pub(super) enum Values<'a> {
    Borrowed(&'a [f32]),
    Contiguous(FlexTensor),
    Widened(Vec<f32>),
}

impl<'a> Values<'a> {
    pub fn of(input: &'a FlexTensor) -> Self {
        if let Some(values) = input.as_slice::<f32>() {
            return Self::Borrowed(values);
        }
        let input = input.to_contiguous();
        match input.dtype() {
            DType::F32 => Self::Contiguous(input),
            DType::F16 => Self::Widened(widened(input.storage::<f16>())),
            DType::BF16 => Self::Widened(widened(input.storage::<bf16>())),
            dtype => panic!("quantization takes f32, f16 or bf16 values, got {dtype:?}"),
        }
    }
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Borrowed(values) => values,
            Self::Contiguous(tensor) => tensor.storage::<f32>(),
            Self::Widened(values) => values,
        }
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

/// Creates a tensor of the shape and type of another from `f32` values.
pub(super) fn from_values_like(values: Vec<f32>, like: &FlexTensor) -> FlexTensor {
    from_values(values, like.layout().shape().clone(), like.dtype())
}
