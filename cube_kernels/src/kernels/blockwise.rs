//! Block-wise quantization by a dynamic map.

use cubecl::{client::Client, prelude::*, server::Handle};

use super::launch::{buffer, elementwise, index, one_cube_each, reduce_units};
use super::statistic::reduce_in_cube;
use crate::{BLOCK, DynamicMap, Statistic};

/// Codes in a word.
const CODES: usize = 4;

/// Returns the number of thresholds below a value, by bisection; the last of the 256 is infinite.
#[cube]
fn nearest_code(thresholds: &[f32], value: f32) -> u32 {
    let mut code = 0u32;
    #[unroll]
    for halving in 0..8u32 {
        let step = comptime!(128u32 >> halving);
        if thresholds[(code + step - 1u32) as usize] < value {
            code += step;
        }
    }
    code
}

/// Each cube takes one block: its maximum, then its words.
#[cube(launch_unchecked)]
pub(super) fn quantize_blocks<N: Size>(
    values: &[Vector<f32, N>],
    thresholds: &[f32],
    output: &mut [u32],
    absmax: &mut [f32],
    length: u32,
    blocks: u32,
    #[comptime] units: u32,
) {
    let block = CUBE_POS;
    if block >= blocks as usize {
        terminate!();
    }
    let start = block * BLOCK;
    let end = min(start + BLOCK, length as usize);
    let largest = reduce_in_cube::<f32, N>(
        values,
        start,
        end - start,
        0u32,
        comptime!(Statistic::AbsMax),
        units,
    );
    if UNIT_POS == 0 {
        absmax[block] = largest;
    }
    let inverse = 1.0f32 / largest;
    let mut position = start + UNIT_POS as usize * CODES;
    while position < end {
        let mut word = 0u32;
        #[unroll]
        for i in 0..CODES {
            if position + i < end {
                let value = values[position + i].extract(0usize) * inverse;
                word |= nearest_code(thresholds, value) << comptime!(8 * i as u32);
            }
        }
        output[position / CODES] = word;
        position += CUBE_DIM as usize * CODES;
    }
}

/// Each unit dequantizes one code.
#[cube(launch_unchecked)]
pub(super) fn dequantize_blocks(
    codes: &[u32],
    absmax: &[f32],
    map: &[f32],
    output: &mut [f32],
    length: u32,
) {
    let position = ABSOLUTE_POS;
    if position >= length as usize {
        terminate!();
    }
    let word = codes[position / CODES];
    let code = (word >> (position % CODES * 8) as u32) & 0xffu32;
    output[position] = map[code as usize] * absmax[position / BLOCK];
}

/// Divides `f32` values by the absolute maximum of their block of [`BLOCK`] and writes the codes of
/// the nearest values of the map, four to a word.
///
/// # Shapes
///
/// - values: `n` values `f32`
/// - output: `ceil(n / 4)` words
/// - absmax: `ceil(n / BLOCK)` values `f32`
pub fn blockwise_quantize(
    client: &Client,
    values: &Handle,
    output: &Handle,
    absmax: &Handle,
    n: usize,
    map: DynamicMap,
) {
    if n == 0 {
        return;
    }
    let blocks = n.div_ceil(BLOCK);
    let thresholds = client.create_from_slice(f32::as_bytes(map.thresholds()));
    // One unit for each word.
    let units = reduce_units(client).min((BLOCK / CODES) as u32);
    let (cube_count, cube_dim) = one_cube_each(client, blocks, units);
    // SAFETY: cubes beyond the blocks stop, the others stay inside their block and below `n`.
    unsafe {
        quantize_blocks::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            1,
            buffer(values, n),
            buffer(&thresholds, 256),
            buffer(output, n.div_ceil(CODES)),
            buffer(absmax, blocks),
            index(n),
            index(blocks),
            units,
        );
    }
}

/// Computes `map[code] * absmax` of every code.
///
/// # Shapes
///
/// - codes: `ceil(n / 4)` words
/// - absmax: `ceil(n / BLOCK)` values `f32`
/// - output: `n` values `f32`
pub fn blockwise_dequantize(
    client: &Client,
    codes: &Handle,
    absmax: &Handle,
    output: &Handle,
    n: usize,
    map: DynamicMap,
) {
    if n == 0 {
        return;
    }
    let values = client.create_from_slice(f32::as_bytes(map.values()));
    let (cube_count, cube_dim) = elementwise(client, n);
    // SAFETY: units beyond `n` stop, and a code is below 256.
    unsafe {
        dequantize_blocks::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            buffer(codes, n.div_ceil(CODES)),
            buffer(absmax, n.div_ceil(BLOCK)),
            buffer(&values, 256),
            buffer(output, n),
            index(n),
        );
    }
}
