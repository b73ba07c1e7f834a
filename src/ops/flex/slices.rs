//! The loops: written so that the compiler turns them into SIMD instructions, over all threads
//! where there is enough to do.

use bitnet_burn_kernels::{
    Groups,
    packing::{CODES_PER_WORD, pack_word, unpack_code, words_per_row},
    reference::{EPSILON, at_least_epsilon, mean_prescale, random_bits, stochastic_round_bf16},
};
use half::bf16;
use rayon::prelude::*;

/// Values below which one thread is faster than waking the others (about 20 us of work).
pub(super) const PARALLEL_THRESHOLD: usize = 1 << 15;

/// Values handed to a thread at a time.
pub(super) const PARALLEL_CHUNK: usize = 1 << 14;

/// Values summed in `f32` before the sum goes on in `f64`: short enough that the rounding of a
/// partial sum stays below that of the final `f32` mean.
const SUM_CHUNK: usize = 256;

/// Independent partial results of a reduction, so that it is not one long chain of additions.
const LANES: usize = 16;

/// Runs a loop compiled for the widest SIMD instructions that the processor has. What it calls
/// must be inlined, or it is compiled for the least that the target has; a large closure may not be,
/// so that it is a type with an inlined [`call`](pulp::NullaryFnOnce::call).
pub(super) fn vectorized<F: pulp::NullaryFnOnce>(f: F) -> F::Output {
    pulp::Arch::new().dispatch(f)
}

/// `sum |v| * prescale`.
struct SumMagnitudes<'a> {
    values: &'a [f32],
    prescale: f32,
}

impl pulp::NullaryFnOnce for SumMagnitudes<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let magnitude = |v: &f32| v.abs() * self.prescale;
        let mut total = 0.0;
        for chunk in self.values.chunks(SUM_CHUNK) {
            let mut lanes = [0.0f32; LANES];
            let (vectors, rest) = chunk.as_chunks::<LANES>();
            for vector in vectors {
                for (sum, v) in lanes.iter_mut().zip(vector) {
                    *sum += magnitude(v);
                }
            }
            let rest: f32 = rest.iter().map(magnitude).sum();
            total += lanes.iter().map(|&v| v as f64).sum::<f64>() + rest as f64;
        }
        total
    }
}

/// `max |v|`, NaN if there is one: see [`reference::absmax`](bitnet_burn_kernels::reference::absmax).
#[inline(always)]
pub(super) fn max_magnitude(values: &[f32]) -> f32 {
    // As signed integers: SSE2 compares those, and the sign bit is cleared.
    let magnitude = |v: f32| v.abs().to_bits() as i32;
    let mut lanes = [0i32; LANES];
    let (vectors, rest) = values.as_chunks::<LANES>();
    for vector in vectors {
        for (largest, &v) in lanes.iter_mut().zip(vector) {
            *largest = (*largest).max(magnitude(v));
        }
    }
    let rest = rest.iter().map(|&v| magnitude(v)).max().unwrap_or(0);
    let largest = lanes.into_iter().max().unwrap_or(0).max(rest);
    f32::from_bits(largest as u32)
}

/// `clamp(round(value), -1, 1)` for a value already divided by its scale, ties to even.
#[inline(always)]
pub(super) fn ternary_code(scaled: f32) -> i32 {
    i32::from(scaled > 0.5) - i32::from(scaled < -0.5)
}

/// Nearest integer, ties to even, for values within +-2^22: adding `1.5 * 2^23` leaves no bits
/// for a fraction. (`round_ties_even` is a function call on x86-64 without SSE4.1.)
#[inline(always)]
pub(super) fn round(value: f32) -> f32 {
    (value + MAGIC) - MAGIC
}

/// `1.5 * 2^23`.
pub(super) const MAGIC: f32 = 12_582_912.0;

/// Runs `f` on pieces of `input` and `output`, in parallel if they are large.
pub(super) fn zip_chunks(
    input: &[f32],
    output: &mut [f32],
    chunk: usize,
    f: impl Fn(usize, &[f32], &mut [f32]) + Sync,
) {
    if input.len() < PARALLEL_THRESHOLD {
        vectorized(|| f(0, input, output));
        return;
    }
    input
        .par_chunks(chunk)
        .zip(output.par_chunks_mut(chunk))
        .enumerate()
        .for_each(|(i, (input, output))| vectorized(|| f(i * chunk, input, output)));
}

/// Whole rows of `row_length` values, about [`PARALLEL_CHUNK`] of them.
pub(super) fn rows_chunk(row_length: usize) -> usize {
    (PARALLEL_CHUNK / row_length).max(1) * row_length
}

/// `f` of every row, in parallel if there is enough to do.
fn map_rows(
    values: &[f32],
    row_length: usize,
    f: impl Fn(&[f32]) -> f32 + Send + Sync,
) -> Vec<f32> {
    values
        .par_chunks(row_length)
        .with_min_len((PARALLEL_THRESHOLD / row_length).max(1))
        .map(f)
        .collect()
}

/// `gamma = max(mean|W|, EPSILON)` of every group.
pub(super) fn absmean_scales(values: &[f32], groups: Groups) -> Vec<f32> {
    let prescale = mean_prescale(groups.size);
    let denominator = groups.size as f64 * prescale as f64;
    let scale = |sum: f64| at_least_epsilon((sum / denominator) as f32);
    let sum = |values: &[f32]| vectorized(SumMagnitudes { values, prescale });
    if groups.size == 0 {
        return vec![EPSILON; groups.num_groups()];
    }
    if groups.inner == 1 {
        let row_sum = |row: &[f32]| match row.len() < PARALLEL_THRESHOLD {
            true => sum(row),
            // The same chunks in the same order whatever the number of threads.
            false => row
                .par_chunks(PARALLEL_CHUNK)
                .map(sum)
                .collect::<Vec<_>>()
                .iter()
                .sum(),
        };
        return map_rows(values, groups.size, |row| scale(row_sum(row)));
    }
    values
        .par_chunks(groups.size * groups.inner)
        .flat_map_iter(|block| {
            let mut sums = vec![0.0f64; groups.inner];
            vectorized(|| {
                for row in block.chunks(groups.inner) {
                    for (sum, v) in sums.iter_mut().zip(row) {
                        *sum += (v.abs() * prescale) as f64;
                    }
                }
            });
            sums.into_iter().map(scale)
        })
        .collect()
}

/// `max(max|x|, EPSILON)` of every group.
pub(super) fn absmax_scales(values: &[f32], groups: Groups) -> Vec<f32> {
    if groups.size == 0 {
        return vec![EPSILON; groups.num_groups()];
    }
    if groups.inner == 1 {
        let largest = |row: &[f32]| {
            row.par_chunks(PARALLEL_CHUNK)
                .map(|chunk| vectorized(|| max_magnitude(chunk)).to_bits())
                .max()
                .map_or(0.0, f32::from_bits)
        };
        return map_rows(values, groups.size, |row| at_least_epsilon(largest(row)));
    }
    values
        .par_chunks(groups.size * groups.inner)
        .flat_map_iter(|block| {
            let mut largest = vec![0i32; groups.inner];
            vectorized(|| {
                for row in block.chunks(groups.inner) {
                    for (largest, v) in largest.iter_mut().zip(row) {
                        *largest = (*largest).max(v.abs().to_bits() as i32);
                    }
                }
            });
            largest
                .into_iter()
                .map(|bits| at_least_epsilon(f32::from_bits(bits as u32)))
        })
        .collect()
}

/// Applies `f(value, scale)` to every value.
fn map_groups(
    values: &[f32],
    scales: &[f32],
    groups: Groups,
    f: impl Fn(f32, f32) -> f32 + Sync,
) -> Vec<f32> {
    let mut output = vec![0.0; values.len()];
    if groups.inner == 1 && groups.outer == 1 {
        let scale = scales[0];
        zip_chunks(values, &mut output, PARALLEL_CHUNK, |_, input, output| {
            for (o, &v) in output.iter_mut().zip(input) {
                *o = f(v, scale);
            }
        });
        return output;
    }
    if groups.inner == 1 {
        let chunk = rows_chunk(groups.size);
        zip_chunks(values, &mut output, chunk, |start, input, output| {
            let rows = input
                .chunks(groups.size)
                .zip(output.chunks_mut(groups.size));
            for ((input, output), &scale) in rows.zip(&scales[start / groups.size..]) {
                for (o, &v) in output.iter_mut().zip(input) {
                    *o = f(v, scale);
                }
            }
        });
        return output;
    }
    let chunk = rows_chunk(groups.inner);
    zip_chunks(values, &mut output, chunk, |start, input, output| {
        let rows = input
            .chunks(groups.inner)
            .zip(output.chunks_mut(groups.inner));
        for (row, (input, output)) in rows.enumerate() {
            let outer = (start / groups.inner + row) / groups.size;
            let scales = &scales[outer * groups.inner..][..groups.inner];
            for ((o, &v), &scale) in output.iter_mut().zip(input).zip(scales) {
                *o = f(v, scale);
            }
        }
    });
    output
}

pub(super) fn ternary_fake_quant(values: &[f32], groups: Groups) -> (Vec<f32>, Vec<f32>) {
    let scales = absmean_scales(values, groups);
    if values.is_empty() {
        return (Vec::new(), scales);
    }
    let quantized = map_groups(values, &scales, groups, |v, gamma| {
        ternary_code(v * (1.0 / gamma)) as f32 * gamma
    });
    (quantized, scales)
}

/// `clamp(round(v * s), min, max) / s`; the clamp comes first, so that the sum in [`round`] stays
/// exact, and gives the same since the bounds are integers.
#[inline(always)]
fn fake_quantize(value: f32, scale: f32, min: f32, max: f32) -> f32 {
    round((value * scale).clamp(min, max)) / scale
}

pub(super) fn absmax_fake_quant(
    values: &[f32],
    groups: Groups,
    max_code: f32,
) -> (Vec<f32>, Vec<f32>) {
    let (min, max) = (-max_code - 1.0, max_code);
    if groups.inner == 1 && groups.outer > 1 && groups.size > 0 {
        return absmax_fake_quant_rows(values, groups.size, min, max);
    }
    let scales: Vec<f32> = absmax_scales(values, groups)
        .into_iter()
        .map(|absmax| max_code / absmax)
        .collect();
    if values.is_empty() {
        return (Vec::new(), scales);
    }
    let quantized = map_groups(values, &scales, groups, |v, s| {
        fake_quantize(v, s, min, max)
    });
    (quantized, scales)
}

/// Row by row, so that the second pass over a row finds it in the cache.
fn absmax_fake_quant_rows(
    values: &[f32],
    row_length: usize,
    min: f32,
    max: f32,
) -> (Vec<f32>, Vec<f32>) {
    let mut output = vec![0.0; values.len()];
    let mut scales = vec![0.0; values.len() / row_length];
    let quantize = |input: &[f32], output: &mut [f32], scales: &mut [f32]| {
        let rows = input.chunks(row_length).zip(output.chunks_mut(row_length));
        for ((input, output), scale) in rows.zip(scales) {
            let s = max / at_least_epsilon(max_magnitude(input));
            *scale = s;
            for (o, &v) in output.iter_mut().zip(input) {
                *o = fake_quantize(v, s, min, max);
            }
        }
    };
    if values.len() < PARALLEL_THRESHOLD {
        vectorized(|| quantize(values, &mut output, &mut scales));
    } else {
        let chunk = rows_chunk(row_length);
        values
            .par_chunks(chunk)
            .zip(output.par_chunks_mut(chunk))
            .zip(scales.par_chunks_mut(chunk / row_length))
            .for_each(|((input, output), scales)| vectorized(|| quantize(input, output, scales)));
    }
    (output, scales)
}

/// Multiplies the values from position `start` of a tensor by the scales of their groups.
#[inline(always)]
fn scale_values(mut values: &mut [f32], start: usize, scales: &[f32], groups: Groups) {
    let mut position = start;
    while !values.is_empty() {
        let scales = &scales[groups.scale_index(position)..];
        // Neighbours share a scale, or each has the next one.
        let run = match groups.inner {
            1 => groups.size - position % groups.size,
            inner => inner - position % inner,
        };
        let (now, later) = values.split_at_mut(run.min(values.len()));
        match groups.inner {
            1 => now.iter_mut().for_each(|v| *v *= scales[0]),
            _ => now.iter_mut().zip(scales).for_each(|(v, s)| *v *= s),
        }
        position += now.len();
        values = later;
    }
}

pub(super) fn ternary_pack(
    values: &[f32],
    scales: &[f32],
    groups: Groups,
    row_length: usize,
) -> Vec<u32> {
    if values.is_empty() {
        return Vec::new();
    }
    let words = words_per_row(row_length);
    let inverse: Vec<f32> = scales.iter().map(|gamma| 1.0 / gamma).collect();
    let mut output = vec![0u32; values.len() / row_length * words];
    let pack_row = |scaled: &mut Vec<f32>, row: usize, words: &mut [u32], values: &[f32]| {
        scaled.clear();
        scaled.extend_from_slice(values);
        scale_values(scaled, row * row_length, &inverse, groups);
        for (word, scaled) in words.iter_mut().zip(scaled.chunks(CODES_PER_WORD)) {
            let mut codes = [0i8; CODES_PER_WORD];
            for (code, &v) in codes.iter_mut().zip(scaled) {
                *code = ternary_code(v) as i8;
            }
            *word = pack_word(&codes);
        }
    };
    output
        .par_chunks_mut(words)
        .zip(values.par_chunks(row_length))
        .enumerate()
        .with_min_len((PARALLEL_THRESHOLD / row_length).max(1))
        .for_each_init(Vec::new, |scaled, (row, (words, values))| {
            vectorized(|| pack_row(scaled, row, words, values));
        });
    output
}

pub(super) fn ternary_unpack(
    words: &[u32],
    scales: &[f32],
    groups: Groups,
    row_length: usize,
) -> Vec<f32> {
    if words.is_empty() {
        return Vec::new();
    }
    let mut output = vec![0.0f32; groups.num_elements()];
    let unpack_row = |row: usize, values: &mut [f32], words: &[u32]| {
        for (values, &word) in values.chunks_mut(CODES_PER_WORD).zip(words) {
            for (i, value) in values.iter_mut().enumerate() {
                *value = unpack_code(word, i) as f32;
            }
        }
        scale_values(values, row * row_length, scales, groups);
    };
    output
        .par_chunks_mut(row_length)
        .zip(words.par_chunks(words_per_row(row_length)))
        .enumerate()
        .with_min_len((PARALLEL_THRESHOLD / row_length).max(1))
        .for_each(|(row, (values, words))| vectorized(|| unpack_row(row, values, words)));
    output
}

pub(super) fn stochastic_round(values: &[f32], seed: u32) -> Vec<bf16> {
    let mut output = vec![bf16::ZERO; values.len()];
    let chunks = values
        .par_chunks(PARALLEL_CHUNK)
        .zip(output.par_chunks_mut(PARALLEL_CHUNK));
    chunks.enumerate().for_each(|(chunk, (values, output))| {
        let start = (chunk * PARALLEL_CHUNK) as u32;
        vectorized(|| {
            for ((i, &value), output) in (start..).zip(values).zip(output) {
                *output = stochastic_round_bf16(value, random_bits(seed, i));
            }
        });
    });
    output
}
