use crate::{FourBitFormat, four_bit::MIN_ABSMAX};

/// Returns the codes of values, two to a byte, and the absolute maximum of each block, as bitsandbytes 0.50
/// computes them: a full block is multiplied by the inverse of its maximum, the last one, if it is shorter,
/// divided by it, and only the maximum of the latter is bounded below.
///
/// A NaN or infinity makes its block non-finite.
pub fn four_bit_quantize(values: &[f32], format: FourBitFormat) -> (Vec<u8>, Vec<f32>) {
    let mut codes = Vec::new();
    let mut maxima = Vec::new();
    for block in values.chunks(format.block_size) {
        // As integers, the bit patterns have the order of their values, with NaN above infinity.
        let bits = block.iter().map(|v| v.abs().to_bits()).max();
        let absmax = f32::from_bits(bits.expect("a block has a value"));
        let bounded = if absmax < MIN_ABSMAX {
            MIN_ABSMAX
        } else {
            absmax
        };
        let is_full = block.len() == format.block_size;
        for &value in block {
            let scaled = match is_full {
                true => value * (1.0 / bounded),
                false => value / bounded,
            };
            codes.push(format.quant_type.code(scaled));
        }
        maxima.push(if is_full { absmax } else { bounded });
    }
    if codes.len() % 2 == 1 {
        codes.push(format.quant_type.code(0.0));
    }
    let bytes = codes.chunks(2).map(|pair| pair[0] << 4 | pair[1]);
    (bytes.collect(), maxima)
}

/// Returns `value(code) * absmax` of `n` codes, the inverse of [`four_bit_quantize`].
pub fn four_bit_dequantize(
    bytes: &[u8],
    absmax: &[f32],
    format: FourBitFormat,
    n: usize,
) -> Vec<f32> {
    let value = |i: usize| {
        let code = match i % 2 {
            0 => bytes[i / 2] >> 4,
            _ => bytes[i / 2] & 15,
        };
        format.quant_type.values()[code as usize] * absmax[i / format.block_size]
    };
    (0..n).map(value).collect()
}
