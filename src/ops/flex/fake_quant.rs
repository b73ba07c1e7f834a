//! Scales of groups, and fake quantization with them. If the values of a group fit the cache, both are done
//! before the next groups are read.

use std::mem::MaybeUninit;

use bitnet_burn_kernels::{Groups, reference::EPSILON};
use rayon::prelude::*;

use super::{
    columns::Columns,
    quantizer::Quantizer,
    slices::{PARALLEL_CHUNK, PARALLEL_THRESHOLD, filled, rows_chunk, vectorized},
};

/// Returns the statistic of every group, which its scale is computed from.
pub(super) fn statistics<Q: Quantizer>(values: &[f32], groups: Groups) -> Vec<f32> {
    if values.is_empty() {
        return vec![EPSILON; groups.num_groups()];
    }
    if groups.inner > 1 {
        return Columns { values, groups }.statistics::<Q>();
    }
    values
        .par_chunks(groups.size)
        .with_min_len((PARALLEL_THRESHOLD / groups.size).max(1))
        .map(statistic::<Q>)
        .collect()
}

/// Returns the statistic of a group of contiguous values.
fn statistic<Q: Quantizer>(row: &[f32]) -> f32 {
    let partial = |values: &[f32]| vectorized(|| Q::partial(values, row.len()));
    let partial = match row.len() < PARALLEL_THRESHOLD {
        true => partial(row),
        false => {
            // The same pieces in the same order for any number of threads.
            let parts: Vec<_> = row.par_chunks(PARALLEL_CHUNK).map(partial).collect();
            parts.into_iter().fold(Q::Partial::default(), Q::merge)
        }
    };
    Q::statistic(partial, row.len())
}

/// Returns the nearest level of every value, and the scale of every group.
pub(super) fn fake_quant<Q: Quantizer>(
    values: &[f32],
    groups: Groups,
    quantizer: Q,
) -> (Vec<f32>, Vec<f32>) {
    if values.is_empty() {
        return (
            Vec::new(),
            vec![quantizer.scale(EPSILON); groups.num_groups()],
        );
    }
    if groups.inner > 1 {
        return Columns { values, groups }.fake_quant(quantizer);
    }
    if groups.size < PARALLEL_THRESHOLD {
        return short_rows(values, groups.size, quantizer);
    }
    long_rows(values, groups.size, quantizer)
}

/// Quantizes groups that are rows and may be larger than the cache.
fn long_rows<Q: Quantizer>(
    values: &[f32],
    row_length: usize,
    quantizer: Q,
) -> (Vec<f32>, Vec<f32>) {
    let mut scales = vec![0.0; values.len() / row_length];
    // The parts into which rayon divides a row for the threads: the same ones as in `statistic`, in the same
    // order, so that a thread finds in its cache what it read last.
    let part = row_length.div_ceil(rayon::current_num_threads().next_power_of_two());
    let part = part.next_multiple_of(PARALLEL_CHUNK);
    let write = |((input, output), scale): ((&[f32], &mut [MaybeUninit<f32>]), &mut f32)| {
        *scale = quantizer.scale(statistic::<Q>(input));
        let parts = input.par_chunks(part).zip(output.par_chunks_mut(part));
        parts.with_max_len(1).for_each(|(input, output)| {
            let pieces = input.par_chunks(PARALLEL_CHUNK);
            let pieces = pieces.zip(output.par_chunks_mut(PARALLEL_CHUNK));
            // From the last piece, which is still in the cache.
            pieces.rev().for_each(|(input, output)| {
                vectorized(|| write_levels(quantizer, input, *scale, output));
            });
        });
    };
    let fill = |output: &mut [MaybeUninit<f32>]| {
        let rows = values.par_chunks(row_length);
        let rows = rows.zip(output.par_chunks_mut(row_length));
        // All inside the pool: from outside, each pass could start on another thread.
        rayon::scope(|_| rows.zip(&mut scales).for_each(write));
    };
    // SAFETY: every piece of every row is written.
    (unsafe { filled(values.len(), fill) }, scales)
}

/// Writes the levels of values that share a scale.
#[inline(always)]
fn write_levels<Q: Quantizer>(
    quantizer: Q,
    input: &[f32],
    scale: f32,
    output: &mut [MaybeUninit<f32>],
) {
    let inverse = 1.0 / scale;
    for (level, &value) in output.iter_mut().zip(input) {
        level.write(quantizer.level(value, scale, inverse));
    }
}

/// Quantizes groups that are rows and fit the cache, where the second pass over a row finds it.
fn short_rows<Q: Quantizer>(
    values: &[f32],
    row_length: usize,
    quantizer: Q,
) -> (Vec<f32>, Vec<f32>) {
    let chunk = match values.len() < PARALLEL_THRESHOLD {
        true => values.len(),
        false => rows_chunk(row_length),
    };
    let mut scales = vec![0.0; values.len() / row_length];
    let fill = |output: &mut [MaybeUninit<f32>]| {
        let chunks = values.par_chunks(chunk).zip(output.par_chunks_mut(chunk));
        chunks
            .zip(scales.par_chunks_mut(chunk / row_length))
            .for_each(|((input, output), scales)| {
                vectorized(Rows {
                    quantizer,
                    input,
                    output,
                    scales,
                });
            });
    };
    // SAFETY: every row of every piece is written.
    (unsafe { filled(values.len(), fill) }, scales)
}

/// Rows, each of which is a group.
struct Rows<'a, Q> {
    quantizer: Q,
    input: &'a [f32],
    output: &'a mut [MaybeUninit<f32>],
    scales: &'a mut [f32],
}

impl<Q: Quantizer> pulp::NullaryFnOnce for Rows<'_, Q> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let length = self.input.len() / self.scales.len();
        let rows = self
            .input
            .chunks(length)
            .zip(self.output.chunks_mut(length));
        for ((input, output), scale) in rows.zip(self.scales) {
            let partial = Q::partial(input, length);
            *scale = self.quantizer.scale(Q::statistic(partial, length));
            write_levels(self.quantizer, input, *scale, output);
        }
    }
}
