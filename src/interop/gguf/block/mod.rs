//! Encoding and decoding of the blocks that rows are cut into.
//!
//! As the Python package [`gguf`](https://pypi.org/project/gguf/) 0.19.0 does it in `quants.py`, bit
//! for bit.

#![expect(non_camel_case_types, reason = "the names that ggml gives them")]

mod base;
mod check;
mod codec;
mod i2_s;
mod iq4;
mod q2_k;
mod q4;
mod q4_k;
mod q6_k;
mod q8_0;
mod ternary;
mod ternary_codec;
mod ternary_tensor;
mod tq1_0;
mod tq2_0;

pub(super) use check::{check_length, check_shape, unstorable};
pub(super) use codec::decode;
pub use codec::encode;
pub(super) use ternary_codec::decode_ternary;
pub use ternary_codec::encode_ternary;
pub use ternary_tensor::TernaryScales;
pub(super) use ternary_tensor::TernaryTensor;
