#![cfg_attr(docsrs, feature(doc_cfg))]

//! Kernels and bit layouts of [bitnet-burn](https://docs.rs/bitnet-burn): ternary and 8-bit fake
//! quantization, 2-bit packing, 4-bit weights and the Hadamard rotation, for every runtime of
//! [CubeCL](https://docs.rs/cubecl).
//!
//! The crate is independent of tensor libraries. [`Groups`] defines the values that share a scale.
//! [`QuantRange`] and [`GradientRule`] define a quantizer with even steps and its surrogate gradient.
//! [`packing`] defines the bit layout, and [`mod@reference`] holds the numerics in plain scalar code.
//! `kernels` (feature `cube`) launches the kernels on contiguous buffers.

mod affine;
mod dynamic_map;
mod four_bit;
mod groups;
#[cfg(feature = "cube")]
pub mod kernels;
pub mod packing;
pub mod reference;
mod statistic;

pub use affine::{GradientRule, QuantRange};
pub use dynamic_map::{BLOCK, DynamicMap};
pub use four_bit::{FourBitFormat, FourBitType, MIN_ABSMAX};
pub use groups::Groups;
pub use statistic::Statistic;
