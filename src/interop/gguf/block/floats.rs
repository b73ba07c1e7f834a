//! F32, F16 and BF16: elements that are each a block of its own.

use half::{bf16, f16};

use super::base::{Block, EncodableBlock};
use crate::interop::gguf::GgmlType;

pub struct F32;
pub struct F16;
pub struct BF16;

impl Block for F32 {
    const TYPE: GgmlType = GgmlType::F32;

    #[inline]
    fn decode(block: &[u8], values: &mut [f32]) {
        values[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    }
}

impl EncodableBlock for F32 {
    #[inline]
    fn encode(values: &[f32], block: &mut [u8]) -> Result<(), usize> {
        block.copy_from_slice(&values[0].to_le_bytes());
        Ok(())
    }
}

impl Block for F16 {
    const TYPE: GgmlType = GgmlType::F16;

    #[inline]
    fn decode(block: &[u8], values: &mut [f32]) {
        values[0] = f16::from_le_bytes([block[0], block[1]]).to_f32();
    }
}

impl EncodableBlock for F16 {
    /// Rounds to the nearest, ties to even; fails if a finite number would become infinite.
    #[inline]
    fn encode(values: &[f32], block: &mut [u8]) -> Result<(), usize> {
        let half = f16::from_f32(values[0]);
        block.copy_from_slice(&half.to_le_bytes());
        match half.is_infinite() && values[0].is_finite() {
            true => Err(0),
            false => Ok(()),
        }
    }
}

impl Block for BF16 {
    const TYPE: GgmlType = GgmlType::BF16;

    #[inline]
    fn decode(block: &[u8], values: &mut [f32]) {
        values[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32();
    }
}

impl EncodableBlock for BF16 {
    /// Rounds to the nearest, ties to even; NaN stays NaN.
    #[inline]
    fn encode(values: &[f32], block: &mut [u8]) -> Result<(), usize> {
        block.copy_from_slice(&bf16::from_f32(values[0]).to_le_bytes());
        Ok(())
    }
}
