//! Codes in words, of 2 bits and of bytes, and their products.

use cubecl::prelude::*;
use std::sync::Arc;

use super::{Case, REDUCE_UNITS, Target, buffer, device, elementwise, reducing, settings};
use crate::kernels::{codes, pack, packed_rows};

pub(super) fn cases(target: &Target) -> Vec<Case> {
    let mut cases = vec![unpack_bytes()];
    for dtype in target.types() {
        cases.extend([pack(dtype), unpack(dtype)]);
        cases.extend([quantize_codes(dtype), dequantize_codes(dtype)]);
        cases.extend([quantize_ternary_codes(dtype), multiply_rows(dtype)]);
    }
    cases
}

fn pack(dtype: ElemType) -> Case {
    let kernel = pack::pack::Pack::new(
        elementwise(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        (),
        dtype,
    );
    Case::new(format!("pack {dtype}"), kernel)
}

fn unpack_bytes() -> Case {
    let kernel = codes::unpack_bytes::UnpackBytes::new(
        elementwise(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        (),
    );
    Case::new("unpack_bytes".to_string(), kernel)
}

fn quantize_ternary_codes(dtype: ElemType) -> Case {
    let kernel = codes::quantize_ternary_codes::QuantizeTernaryCodes::new(
        elementwise(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        (),
        (),
        (),
        dtype,
    );
    Case::new(format!("quantize_ternary_codes {dtype}"), kernel)
}

fn unpack(dtype: ElemType) -> Case {
    let kernel = pack::unpack::Unpack::new(
        elementwise(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        (),
        dtype,
    );
    Case::new(format!("unpack {dtype}"), kernel)
}

fn quantize_codes(dtype: ElemType) -> Case {
    let kernel = codes::quantize_codes::QuantizeCodes::new(
        reducing(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        (),
        1,
        REDUCE_UNITS,
        dtype,
    );
    Case::new(format!("quantize_codes {dtype}"), kernel)
}

fn dequantize_codes(dtype: ElemType) -> Case {
    let kernel = codes::dequantize_codes::DequantizeCodes::new(
        elementwise(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        dtype,
    );
    Case::new(format!("dequantize_codes {dtype}"), kernel)
}

fn multiply_rows(dtype: ElemType) -> Case {
    let kernel = packed_rows::multiply_rows::MultiplyRows::new(
        settings(CubeDim::new_1d(64)),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        buffer(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        (),
        64,
        dtype,
    );
    Case::new(format!("multiply_rows {dtype}"), kernel)
}
