use half::f16;
use rayon::prelude::*;

use crate::interop::gguf::GgmlType;

/// Values that a thread decodes at a time.
const PART: usize = 1 << 18;

/// Format of the blocks that the rows of a tensor are cut into. Types of floats have none: they are
/// read and written by [`floats`](crate::interop::floats).
pub trait Block {
    /// Type of the tensors.
    const TYPE: GgmlType;
    /// Elements of a block.
    const LEN: usize = Self::TYPE.block_len() as usize;
    /// Bytes of a block.
    const BYTES: usize = Self::TYPE.block_bytes() as usize;

    /// Decodes the bytes of a block to its elements, whatever they are.
    fn decode(block: &[u8], values: &mut [f32]);
}

/// Format of blocks that are written, too.
pub trait EncodableBlock: Block {
    /// Encodes the elements of a block; fails with the number of one that the type cannot hold.
    fn encode(values: &[f32], block: &mut [u8]) -> Result<(), usize>;
}

/// Decodes blocks, which are independent of each other, on all processors.
pub fn decode_blocks<B: Block>(bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / B::BYTES * B::LEN];
    let blocks = PART.div_ceil(B::LEN);
    values
        .par_chunks_mut(blocks * B::LEN)
        .zip(bytes.par_chunks(blocks * B::BYTES))
        .for_each(|(values, bytes)| {
            let values = values.chunks_exact_mut(B::LEN);
            for (block, values) in bytes.chunks_exact(B::BYTES).zip(values) {
                B::decode(block, values);
            }
        });
    values
}

/// Encodes blocks; fails with the number of the first element that the type cannot hold.
pub fn encode_blocks<B: EncodableBlock>(values: &[f32]) -> Result<Vec<u8>, usize> {
    let mut bytes = vec![0; values.len() / B::LEN * B::BYTES];
    let blocks = bytes.chunks_exact_mut(B::BYTES);
    for (i, (values, block)) in values.chunks_exact(B::LEN).zip(blocks).enumerate() {
        B::encode(values, block).map_err(|place| i * B::LEN + place)?;
    }
    Ok(bytes)
}

/// The number of half precision at a place of a block.
pub fn half(block: &[u8], place: usize) -> f32 {
    f16::from_le_bytes([block[place], block[place + 1]]).to_f32()
}

/// Place and size of the element that is farthest from zero, the first one of several.
pub fn largest(values: &[f32]) -> (usize, f32) {
    let start = (0, 0.0);
    values.iter().enumerate().fold(start, |largest, (i, x)| {
        if x.abs() > largest.1 {
            (i, x.abs())
        } else {
            largest
        }
    })
}

/// Rounds, ties away from zero.
///
/// Elements of a block that are so small that the inverse of its scale is infinite become zero, as
/// the scale does.
pub fn round(scaled: f32) -> i8 {
    if scaled.is_finite() {
        scaled.round() as i8
    } else {
        0
    }
}

/// Scale of a block in half precision and the inverse of the exact one, or the failure of the
/// element at `place` that makes it infinite.
pub fn scale(place: usize, scale: f32) -> Result<(f16, f32), usize> {
    let half = f16::from_f32(scale);
    match half.is_infinite() {
        true => Err(place),
        false => Ok((half, if scale == 0.0 { 0.0 } else { scale.recip() })),
    }
}
