//! Codes of 4 bits, and their products.

use cubecl::prelude::*;
use std::sync::Arc;

use super::{Case, Target, buffer, device, elementwise, reducing, settings};
use crate::{
    FourBitType,
    kernels::{four_bit, four_bit_rows},
};

/// Units of a cube that multiplies.
const UNITS: u32 = 64;

pub(super) fn cases(target: &Target) -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in target.types() {
        for quant_type in [FourBitType::Nf4, FourBitType::Fp4] {
            // Blocks within a tile, and the largest.
            cases.extend([256, 512].map(|tile| quantize(quant_type, tile, dtype)));
            for width in target.widths(dtype) {
                cases.extend([1, 4].map(|tokens| multiply(quant_type, tokens, width, dtype)));
            }
        }
        cases.extend(target.widths(dtype).map(|width| dequantize(width, dtype)));
    }
    cases
}

fn quantize(quant_type: FourBitType, tile: usize, dtype: ElemType) -> Case {
    let kernel = four_bit::quantize_four_bit::QuantizeFourBit::new(
        reducing(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        quant_type,
        tile,
        dtype,
    );
    let name = format!("quantize_four_bit {dtype} {quant_type:?} tile {tile}");
    Case::new(name, kernel)
}

fn dequantize(width: usize, dtype: ElemType) -> Case {
    let kernel = four_bit::dequantize_four_bit::DequantizeFourBit::new(
        elementwise(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        buffer(),
        buffer(),
        (),
        (),
        width,
        dtype,
    );
    Case::new(format!("dequantize_four_bit {dtype} x{width}"), kernel)
}

fn multiply(quant_type: FourBitType, tokens: usize, width: usize, dtype: ElemType) -> Case {
    let kernel = four_bit_rows::multiply_four_bit::MultiplyFourBit::new(
        settings(CubeDim::new_1d(UNITS)),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        (),
        width,
        quant_type,
        tokens,
        UNITS,
        dtype,
    );
    let name = format!("multiply_four_bit {dtype} x{width} {quant_type:?} {tokens} tokens");
    Case::new(name, kernel)
}
