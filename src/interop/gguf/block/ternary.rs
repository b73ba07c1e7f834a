//! TQ1_0 and TQ2_0: 256 codes -1, 0 and 1, and behind them a scale of half precision, `x = code d`.

use core::array::from_fn;

use half::f16;

use super::{
    TernaryTensor,
    base::{Block, EncodableBlock, half, largest, round, scale},
};
use crate::interop::gguf::GgmlType;

/// Elements of a block.
pub const LEN: usize = 256;

/// Format of the codes in a block.
pub trait TernaryBlock {
    /// Type of the tensors.
    const TYPE: GgmlType;

    /// Writes the codes of a block.
    fn pack(codes: &[i8; LEN], digits: &mut [u8]);

    /// Reads the codes of a block; the fourth digit of TQ2_0, which no writer writes, is 2.
    fn unpack(digits: &[u8]) -> [i8; LEN];
}

impl<B: TernaryBlock> Block for B {
    const TYPE: GgmlType = <B as TernaryBlock>::TYPE;

    fn decode(block: &[u8], values: &mut [f32]) {
        let (codes, scale) = read::<B>(block);
        for (value, code) in values.iter_mut().zip(codes) {
            *value = scale * f32::from(code);
        }
    }
}

impl<B: TernaryBlock> EncodableBlock for B {
    /// The scale is `d = max |x|`.
    fn encode(values: &[f32], block: &mut [u8]) -> Result<(), usize> {
        let (place, max) = largest(values);
        let (half, inverse) = scale(place, max)?;
        write::<B>(&from_fn(|i| round(values[i] * inverse)), half, block);
        Ok(())
    }
}

/// Encodes codes; `scale_of` is given the number of a block.
pub fn encode_codes<B: TernaryBlock>(codes: &[i8], scale_of: impl Fn(usize) -> f32) -> Vec<u8> {
    let codes = codes.as_chunks::<LEN>().0;
    let mut bytes = vec![0; codes.len() * B::BYTES];
    for (i, (codes, block)) in codes
        .iter()
        .zip(bytes.chunks_exact_mut(B::BYTES))
        .enumerate()
    {
        write::<B>(codes, f16::from_f32(scale_of(i)), block);
    }
    bytes
}

/// Decodes codes and scales without rounding.
pub fn decode_codes<B: TernaryBlock>(bytes: &[u8]) -> TernaryTensor {
    let mut tensor = TernaryTensor::with_capacity(bytes.len() / B::BYTES * LEN, LEN);
    for block in bytes.chunks_exact(B::BYTES) {
        let (codes, scale) = read::<B>(block);
        tensor.push(&codes, scale);
    }
    tensor
}

fn write<B: TernaryBlock>(codes: &[i8; LEN], scale: f16, block: &mut [u8]) {
    let (digits, tail) = block.split_at_mut(B::BYTES - size_of::<f16>());
    B::pack(codes, digits);
    tail.copy_from_slice(&scale.to_le_bytes());
}

fn read<B: TernaryBlock>(block: &[u8]) -> ([i8; LEN], f32) {
    let (digits, tail) = block.split_at(B::BYTES - size_of::<f16>());
    (B::unpack(digits), half(tail, 0))
}
