#![cfg_attr(docsrs, feature(doc_cfg))]

//! Kernels and bit layouts of [bitnet-burn](https://docs.rs/bitnet-burn): ternary and 8-bit fake
//! quantisation, 2-bit packing and the Hadamard rotation, for every runtime of
//! [CubeCL](https://docs.rs/cubecl).
//!
//! The crate knows no tensor library. [`Groups`] says which values share a scale, [`CodeRange`] and
//! [`GradientRule`] what a quantiser with even steps does and what stands in for its gradient,
//! [`packing`] defines the bit layout, [`mod@reference`] is the numerics in plain scalar code, and
//! `kernels` (feature `cube`) launches the kernels on contiguous buffers.

mod affine;
mod dynamic_map;
mod groups;
#[cfg(feature = "cube")]
pub mod kernels;
pub mod packing;
pub mod reference;
mod statistic;

pub use affine::{CodeRange, GradientRule};
pub use dynamic_map::{BLOCK, DynamicMap};
pub use groups::Groups;
pub use statistic::Statistic;
