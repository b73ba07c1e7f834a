//! CubeCL kernels and their launchers.
//!
//! All buffers are contiguous and are described by a [`Groups`](crate::Groups): values in the given float
//! type, scales in `f32` as `[outer, inner]`. Statistics and sums are computed in `f32` for any type of
//! the values.

mod absmax;
mod affine;
mod blockwise;
mod codes;
mod four_bit;
mod four_bit_rows;
mod hadamard;
mod launch;
#[cfg(all(test, feature = "offline"))]
mod offline;
mod pack;
mod packed_rows;
mod statistic;
mod stochastic_round;
mod ternary;

pub use absmax::absmax_fake_quant;
pub use affine::{affine_fake_quant, affine_gradient};
pub use blockwise::{blockwise_dequantize, blockwise_quantize};
pub use codes::{absmax_dequantize, absmax_quantize, ternary_codes, unpack_codes};
pub use four_bit::{four_bit_dequantize, four_bit_quantize};
pub use four_bit_rows::four_bit_product;
pub use hadamard::hadamard_transform;
pub use pack::{ternary_pack, ternary_unpack};
pub use packed_rows::packed_product;
pub use statistic::group_statistic;
pub use stochastic_round::stochastic_round;
pub use ternary::ternary_fake_quant;
