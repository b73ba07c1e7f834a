//! Quantization to 4 bits and back; the layout is in [`FourBitFormat`].

use cubecl::{client::Client, prelude::*, server::Handle};

use super::launch::{buffer, elementwise, index, one_cube_each, reduce_units, vector_size};
use super::statistic::absolute;
use crate::{FourBitFormat, FourBitType, Groups, MIN_ABSMAX};

/// Codes in a word.
const CODES: usize = FourBitFormat::CODES_PER_WORD;

/// Words of a cube that quantizes, or those of a block if it has more.
pub(super) const TILE: usize = 256;

/// Returns the first bit of a code in its word: the first of two is in the upper half of a byte.
pub(super) const fn shift(i: usize) -> u32 {
    4 * (i as u32 ^ 1)
}

/// Returns eight codes in the order of their values, four bits each, from `first` on.
const fn in_order(quant_type: FourBitType, first: usize) -> u32 {
    let mut codes = 0;
    let mut i = 0;
    while i < 8 {
        codes |= (quant_type.ascending()[first + i] as u32) << (4 * i);
        i += 1;
    }
    codes
}

/// Returns the code of the nearest value, the lower one of two equally near; that of 1 for NaN.
#[cube]
fn nearest_code(x: f32, #[comptime] quant_type: FourBitType) -> u32 {
    let mut position = 15u32;
    #[unroll]
    for i in 0..15usize {
        let threshold = f32::new(comptime!(quant_type.thresholds()[i]));
        // A NaN is not below any threshold.
        position -= select(x <= threshold, 1u32, 0u32);
    }
    if comptime!(matches!(quant_type, FourBitType::Nf4)) {
        position
    } else {
        let low = comptime!(in_order(quant_type, 0)).runtime();
        let high = comptime!(in_order(quant_type, 8)).runtime();
        let codes = select(position < 8u32, low, high);
        (codes >> (position % 8u32 * 4u32)) & 15u32
    }
}

/// Returns the bits of the largest magnitude of a word's values, which have the order of their values, with
/// NaN above infinity.
#[cube]
fn largest_bits<F: Float>(input: &[F], first: usize, length: usize) -> u32 {
    let mut largest = 0u32;
    #[unroll]
    for i in 0..CODES {
        if first + i < length {
            let magnitude = absolute(f32::cast_from(input[first + i]));
            largest = max(largest, u32::reinterpret(magnitude));
        }
    }
    largest
}

/// Moves the largest number of each block to its first place.
#[cube]
fn reduce_blocks(numbers: &mut Shared<[u32]>, block: usize, #[comptime] tile: usize) {
    let mut active = block / 2;
    while active > 0 {
        let mut i = UNIT_POS as usize;
        while i < tile {
            if i % block < active {
                numbers[i] = max(numbers[i], numbers[i + active]);
            }
            i += CUBE_DIM as usize;
        }
        sync_cube();
        active /= 2;
    }
}

/// Returns the word of the values from `first` on.
#[cube]
fn encode<F: Float>(
    input: &[F],
    first: usize,
    length: usize,
    absmax: f32,
    is_full: bool,
    #[comptime] quant_type: FourBitType,
) -> u32 {
    // Zero on devices without subnormal numbers, on which all values of the block are zeros, too.
    let divisor = select(absmax == 0.0f32, 1.0f32, absmax);
    let inverse = 1.0f32 / divisor;
    let mut word = 0u32;
    #[unroll]
    for i in 0..CODES {
        if first + i < length {
            let value = f32::cast_from(input[first + i]);
            let scaled = select(is_full, value * inverse, value / divisor);
            word |= nearest_code(scaled, quant_type) << comptime!(shift(i));
        }
        if comptime!(i % 2 == 1) {
            // The second code of the last byte.
            if first + i == length {
                word |= comptime!((quant_type.code(0.0) as u32) << shift(i));
            }
        }
    }
    word
}

/// Each cube takes a tile of whole blocks: the maximum of each word, of each block, then the words.
#[cube(launch_unchecked)]
pub(super) fn quantize_four_bit<F: Float>(
    input: &[F],
    output: &mut [u32],
    absmax: &mut [f32],
    length: u32,
    words: u32,
    block_words: u32,
    #[comptime] quant_type: FourBitType,
    #[comptime] tile: usize,
    #[define(F)] _dtype: ElemType,
) {
    let start = CUBE_POS * tile;
    let (length, words, block_words) = (length as usize, words as usize, block_words as usize);
    if start >= words {
        terminate!();
    }
    let mut maxima = Shared::<[u32]>::new_slice(tile);
    let mut i = UNIT_POS as usize;
    while i < tile {
        maxima[i] = largest_bits::<F>(input, (start + i) * CODES, length);
        i += CUBE_DIM as usize;
    }
    sync_cube();
    reduce_blocks(&mut maxima, block_words, tile);
    let mut i = UNIT_POS as usize;
    while i < min(tile, words - start) {
        let block = (start + i) / block_words;
        let is_full = (block + 1) * block_words * CODES <= length;
        let in_block = i % block_words;
        let bits = maxima[i - in_block];
        // Of bits, as a comparison of floats may drop a NaN or a subnormal number.
        let bounded = max(bits, comptime!(MIN_ABSMAX.to_bits()));
        if in_block == 0 {
            absmax[block] = f32::reinterpret(select(is_full, bits, bounded));
        }
        let first = (start + i) * CODES;
        let bounded = f32::reinterpret(bounded);
        output[start + i] = encode::<F>(input, first, length, bounded, is_full, quant_type);
        i += CUBE_DIM as usize;
    }
}

/// Each unit dequantizes one vector, whose codes are in one word.
#[cube(launch_unchecked)]
pub(super) fn dequantize_four_bit<F: Float, N: Size>(
    words: &[u32],
    absmax: &[f32],
    values: &[f32],
    output: &mut [Vector<F, N>],
    vectors: u32,
    block_shift: u32,
    #[define(F)] _dtype: ElemType,
) {
    let position = ABSOLUTE_POS;
    if position >= vectors as usize {
        terminate!();
    }
    let first = position * N::value();
    let word = words[first / CODES];
    let absmax = absmax[(position as u32 >> block_shift) as usize];
    let mut dequantized = Vector::<F, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        // As in `shift`.
        let i = (first + lane) as u32 % CODES as u32;
        let code = (word >> ((i ^ 1u32) * 4u32)) & 15u32;
        dequantized.insert(lane, F::cast_from(values[code as usize] * absmax));
    }
    output[position] = dequantized;
}

/// Divides each block of values by its absolute maximum and writes the codes of the nearest values, bit for
/// bit those of [`reference::four_bit_quantize`](crate::reference::four_bit_quantize).
///
/// # Shapes
///
/// - values: `n` values of type `dtype`
/// - output: `FourBitFormat::num_words(n)` words
/// - absmax: `format.num_blocks(n)` values `f32`
pub fn four_bit_quantize(
    client: &Client,
    values: &Handle,
    output: &Handle,
    absmax: &Handle,
    n: usize,
    format: FourBitFormat,
    dtype: ElemType,
) {
    if n == 0 {
        return;
    }
    let words = FourBitFormat::num_words(n);
    let block_words = format.block_size / CODES;
    let tile = TILE.max(block_words);
    let (cube_count, cube_dim) = one_cube_each(client, words.div_ceil(tile), reduce_units(client));
    // SAFETY: cubes beyond the words stop, the others stay below `words` and read below `n`. Blocks and tiles are
    // powers of two, so that a tile is whole blocks.
    unsafe {
        quantize_four_bit::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            buffer(values, n),
            buffer(output, words),
            buffer(absmax, format.num_blocks(n)),
            index(n),
            index(words),
            index(block_words),
            format.quant_type,
            tile,
            dtype,
        );
    }
}

/// Computes `value(code) * absmax` of every code, rounded to `dtype`.
///
/// # Shapes
///
/// - words: `FourBitFormat::num_words(n)` words
/// - absmax: `format.num_blocks(n)` values `f32`
/// - output: `n` values of type `dtype`
pub fn four_bit_dequantize(
    client: &Client,
    words: &Handle,
    absmax: &Handle,
    output: &Handle,
    n: usize,
    format: FourBitFormat,
    dtype: ElemType,
) {
    if n == 0 {
        return;
    }
    let values = client.create_from_slice(f32::as_bytes(format.quant_type.values()));
    // Vectors divide the values of a word, and so those of a block.
    let of_word = 1 << n.trailing_zeros().min(CODES.ilog2());
    let width = vector_size(client, Groups::per_row(&[n / of_word, of_word]), dtype);
    let vectors = n / width;
    let (cube_count, cube_dim) = elementwise(client, vectors);
    // SAFETY: units beyond `vectors` stop, the others read the word and the block of their codes, which are below
    // 16.
    unsafe {
        dequantize_four_bit::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            width,
            buffer(words, FourBitFormat::num_words(n)),
            buffer(absmax, format.num_blocks(n)),
            buffer(&values, 16),
            buffer(output, vectors),
            index(vectors),
            (format.block_size / width).ilog2(),
            dtype,
        );
    }
}
