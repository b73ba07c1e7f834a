//! What TQ1_0 and TQ2_0 have in common: 256 codes -1, 0 and 1, and behind them a scale of half
//! precision, `x = code d`.

use half::f16;

use super::{
    q8_0::code,
    ternary_codec::{LEN, TernaryBlocks},
};

/// Place and size of the element that is farthest from zero, the first one of several.
pub fn largest(block: &[f32]) -> (usize, f32) {
    let start = (0, 0.0);
    block.iter().enumerate().fold(start, |largest, (i, x)| {
        if x.abs() > largest.1 {
            (i, x.abs())
        } else {
            largest
        }
    })
}

/// Encodes with `d = max |x|` of each block; fails with the number of an element that makes it
/// infinite.
pub fn encode(blocks: TernaryBlocks, values: &[f32]) -> Result<Vec<u8>, usize> {
    let chunks = values.as_chunks::<LEN>().0;
    let mut bytes = Vec::with_capacity(chunks.len() * (blocks.digits + 2));
    for (i, block) in chunks.iter().enumerate() {
        let (place, scale) = largest(block);
        let half = f16::from_f32(scale);
        if half.is_infinite() {
            return Err(i * LEN + place);
        }
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let codes = block.map(|x| code(x * inverse));
        blocks.push(&codes, half, &mut bytes);
    }
    Ok(bytes)
}

/// Decodes whatever the bytes are; the fourth digit of TQ2_0, which no writer writes, is 2.
pub fn decode(blocks: TernaryBlocks, bytes: &[u8]) -> Vec<f32> {
    let chunks = blocks.split(bytes);
    let mut values = Vec::with_capacity(chunks.len() * LEN);
    for block in chunks {
        let (codes, scale) = blocks.read(block);
        let scale = scale.to_f32();
        values.extend(codes.map(|code| scale * f32::from(code)));
    }
    values
}
