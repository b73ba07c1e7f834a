//! Operations on tensors, for quantizers, layers and users.
//!
//! Each function checks its arguments, then calls the implementation of the tensors' backend. Under autodiff
//! the fake quantizers have the straight-through gradient of the identity, and [`straight_through`] replaces
//! it by another; the Hadamard transform has its own.

mod absmax;
mod affine;
mod bit_linear;
mod blockwise;
mod causal_attention;
mod codes;
mod four_bit;
mod four_bit_absmax;
mod four_bit_linear;
mod frozen_linear;
mod fused_adamw;
mod gated_activation;
mod hadamard;
mod linear_cross_entropy;
mod low_rank_sum;
mod operand;
mod packed_linear;
mod packing;
mod rms_norm;
mod rotary_embedding;
mod statistic;
mod stochastic_round;
mod ternary;

pub use absmax::absmax_fake_quant;
pub use affine::{AffineParams, affine_fake_quant, learned_step_fake_quant, straight_through};
pub use bit_linear::bit_linear;
pub(crate) use bit_linear::bit_linear_with;
pub(crate) use blockwise::{BlockwiseMoment, adamw_8bit};
pub use blockwise::{blockwise_dequantize, blockwise_quantize};
pub use causal_attention::causal_attention;
pub use codes::{absmax_dequantize, absmax_quantize};
pub use four_bit::{FourBitTensor, four_bit_dequantize, four_bit_quantize};
pub use four_bit_absmax::FourBitAbsmax;
pub use four_bit_linear::four_bit_linear;
pub use frozen_linear::frozen_linear;
pub(crate) use fused_adamw::fused_adamw;
pub use gated_activation::gated_activation;
pub use hadamard::hadamard_transform;
pub use linear_cross_entropy::linear_cross_entropy;
pub use low_rank_sum::low_rank_sum;
pub use packed_linear::packed_linear;
pub use packing::{ternary_pack, ternary_unpack};
pub use rms_norm::rms_norm;
pub use rotary_embedding::rotary_embedding;
pub use statistic::group_statistic;
pub use stochastic_round::stochastic_round;
pub use ternary::ternary_fake_quant;

pub use crate::ops::{
    CrossEntropyTerms, DynamicMap, FourBitFormat, GradientRule, Groups, QuantRange, Statistic,
};
