//! Shapes and types of the structured outputs, which Fusion needs before it executes an operation.

use bitnet_burn_kernels::{BLOCK, DynamicMap, Groups, packing::code_words_per_row};
use burn::backend::{DType, Shape, fusion::custom::TensorSpec};

use super::operand::{AbsmaxCodesMetadata, BlockwiseCodesMetadata};

pub(super) fn values_and_scales(values: &TensorSpec, groups: &Groups) -> (TensorSpec, TensorSpec) {
    let scales = TensorSpec::new(Shape::new(groups.scale_shape()), DType::F32);
    (values.clone(), scales)
}

pub(super) fn absmax_codes(x: &TensorSpec, _max_code: &f32) -> AbsmaxCodesMetadata {
    let [tokens, d_input] = x.shape.dims();
    let words = Shape::new([tokens, code_words_per_row(d_input)]);
    AbsmaxCodesMetadata {
        words: TensorSpec::new(words, DType::U32),
        inverse_scales: TensorSpec::new(Shape::new([tokens, 1]), DType::F32),
        d_input,
    }
}

pub(super) fn blockwise_codes(values: &TensorSpec, _map: &DynamicMap) -> BlockwiseCodesMetadata {
    let n = values.shape.num_elements();
    BlockwiseCodesMetadata {
        words: TensorSpec::new(Shape::new([n.div_ceil(4)]), DType::U32),
        absmax: TensorSpec::new(Shape::new([n.div_ceil(BLOCK)]), DType::F32),
    }
}
