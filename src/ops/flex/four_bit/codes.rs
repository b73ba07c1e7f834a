use std::sync::LazyLock;

use bitnet_burn_kernels::{FourBitFormat, FourBitType, MIN_ABSMAX};
use rayon::prelude::*;

use crate::ops::flex::{
    quantizer::max_magnitude,
    slices::{PARALLEL_CHUNK, vectorized},
};

/// Codes in a word.
const CODES: usize = 8;

/// Largest block.
const MAX_BLOCK: usize = 4096;

/// Returns the words of codes, and the absolute maximum of each block.
pub(super) fn quantize(values: &[f32], format: FourBitFormat) -> (Vec<u32>, Vec<f32>) {
    let mut words = vec![0u32; FourBitFormat::num_words(values.len())];
    let mut absmax = vec![0f32; format.num_blocks(values.len())];
    // A multiple of every block, which are powers of two.
    (
        values.par_chunks(PARALLEL_CHUNK),
        words.par_chunks_mut(PARALLEL_CHUNK / CODES),
        absmax.par_chunks_mut(PARALLEL_CHUNK / format.block_size),
    )
        .into_par_iter()
        .for_each(|(values, words, absmax)| {
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(words);
            let bytes = bytes.chunks_mut(format.block_size / 2);
            let blocks = values.chunks(format.block_size);
            for ((values, bytes), absmax) in blocks.zip(bytes).zip(absmax) {
                *absmax = vectorized(|| encode(values, format, bytes));
            }
        });
    (words, absmax)
}

/// Writes the codes of a block and returns its absolute maximum.
#[inline(always)]
fn encode(values: &[f32], format: FourBitFormat, bytes: &mut [u8]) -> f32 {
    let absmax = max_magnitude(values);
    let bounded = if absmax < MIN_ABSMAX {
        MIN_ABSMAX
    } else {
        absmax
    };
    let is_full = values.len() == format.block_size;
    let mut scaled = [0.0; MAX_BLOCK];
    let scaled = &mut scaled[..values.len()];
    let inverse = 1.0 / bounded;
    for (scaled, &value) in scaled.iter_mut().zip(values) {
        // As bitsandbytes computes them.
        *scaled = if is_full {
            value * inverse
        } else {
            value / bounded
        };
    }
    let mut codes = [0u8; MAX_BLOCK];
    for (code, &x) in codes.iter_mut().zip(&*scaled) {
        *code = position(x, format.quant_type.thresholds());
    }
    if format.quant_type == FourBitType::Fp4 {
        let ascending = format.quant_type.ascending();
        for code in &mut codes[..values.len()] {
            *code = ascending[*code as usize];
        }
    }
    if values.len() % 2 == 1 {
        codes[values.len()] = format.quant_type.code(0.0);
    }
    let (pairs, _) = codes.as_chunks::<2>();
    let pairs = &pairs[..values.len().div_ceil(2)];
    for (byte, [first, second]) in bytes.iter_mut().zip(pairs) {
        *byte = first << 4 | second;
    }
    if is_full { absmax } else { bounded }
}

/// Returns the number of thresholds that a value is not below; all for NaN.
#[inline(always)]
fn position(x: f32, thresholds: &[f32; 15]) -> u8 {
    let not_above: u32 = thresholds.iter().map(|&t| u32::from(x <= t)).sum();
    15 - not_above as u8
}

/// Values of the two codes of each byte.
type Pairs = [[f32; 2]; 256];

static NF4: LazyLock<Pairs> = LazyLock::new(|| pairs(FourBitType::Nf4));
static FP4: LazyLock<Pairs> = LazyLock::new(|| pairs(FourBitType::Fp4));

fn pairs(quant_type: FourBitType) -> Pairs {
    let values = quant_type.values();
    core::array::from_fn(|byte| [values[byte >> 4], values[byte & 15]])
}

/// Codes, which are decoded from any position on.
pub(super) struct Decoder<'a> {
    bytes: &'a [u8],
    absmax: &'a [f32],
    pairs: &'static Pairs,
    block_size: usize,
}

impl<'a> Decoder<'a> {
    pub fn new(words: &'a [u32], absmax: &'a [f32], format: FourBitFormat) -> Self {
        Self {
            bytes: bytemuck::cast_slice(words),
            absmax,
            pairs: match format.quant_type {
                FourBitType::Nf4 => &NF4,
                FourBitType::Fp4 => &FP4,
            },
            block_size: format.block_size,
        }
    }

    /// Writes the values from position `start` on.
    pub fn decode(&self, start: usize, values: &mut [f32]) {
        vectorized(|| self.decode_blocks(start, values));
    }

    #[inline(always)]
    fn decode_blocks(&self, start: usize, values: &mut [f32]) {
        let mut done = 0;
        while done < values.len() {
            let position = start + done;
            let in_block = self.block_size - position % self.block_size;
            let end = values.len().min(done + in_block);
            self.decode_part(position, &mut values[done..end]);
            done = end;
        }
    }

    /// Writes values of one block.
    #[inline(always)]
    fn decode_part(&self, position: usize, values: &mut [f32]) {
        let (odd, rest) = values.split_at_mut(position % 2);
        if let [value] = odd {
            *value = self.pairs[self.bytes[position / 2] as usize][1];
        }
        let (pairs, last) = rest.as_chunks_mut::<2>();
        let bytes = &self.bytes[position.div_ceil(2)..];
        let (bytes, next) = bytes.split_at(pairs.len());
        for (pair, &byte) in pairs.iter_mut().zip(bytes) {
            *pair = self.pairs[byte as usize];
        }
        if let [value] = last {
            *value = self.pairs[next[0] as usize][0];
        }
        let absmax = self.absmax[position / self.block_size];
        values.iter_mut().for_each(|value| *value *= absmax);
    }
}

/// Returns the first `n` values.
pub(super) fn dequantize(decoder: &Decoder<'_>, n: usize) -> Vec<f32> {
    let mut values = vec![0.0; n];
    let chunks = values.par_chunks_mut(PARALLEL_CHUNK).enumerate();
    chunks.for_each(|(i, values)| decoder.decode(i * PARALLEL_CHUNK, values));
    values
}
