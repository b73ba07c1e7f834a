//! Packing of ternary weights into words of 2-bit codes, and unpacking, a piece of a row at a time.

use std::{hint::black_box, iter, mem::MaybeUninit};

use bitnet_burn_kernels::{
    Groups,
    packing::{BITS_PER_CODE, CODES_PER_WORD, unpack_code, words_per_row},
};
use rayon::prelude::*;

use super::{
    quantizer::ternary_code,
    slices::{PARALLEL_THRESHOLD, filled, runs, vectorized},
};

/// Values of a piece, whose words fill a cache line.
const PIECE: usize = 16 * CODES_PER_WORD;

/// The code of zero, also used as padding after the end of a row.
const ZERO: u8 = 1;

/// Calls `f` with the position of the first value of each row, and the row.
fn for_each_row<R: IndexedParallelIterator>(
    rows: R,
    row_length: usize,
    f: impl Fn(usize, R::Item) + Sync + Send,
) {
    rows.enumerate()
        .with_min_len((PARALLEL_THRESHOLD / row_length).max(1))
        .for_each(|(row, item)| f(row * row_length, item));
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
    let inverse = &inverse;
    let fill = |output: &mut [MaybeUninit<u32>]| {
        let rows = values.par_chunks(row_length);
        let rows = rows.zip(output.par_chunks_mut(words));
        for_each_row(rows, row_length, |start, (values, words)| {
            vectorized(PackRow {
                values,
                start,
                inverse,
                groups,
                words,
            });
        });
    };
    // SAFETY: every word of every row is written.
    unsafe { filled(values.len() / row_length * words, fill) }
}

struct PackRow<'a> {
    values: &'a [f32],
    /// Position of the first value in the tensor.
    start: usize,
    inverse: &'a [f32],
    groups: Groups,
    words: &'a mut [MaybeUninit<u32>],
}

impl pulp::NullaryFnOnce for PackRow<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let code = |scaled: f32| (ternary_code(scaled) + 1) as u8;
        let words = self.words.chunks_mut(PIECE / CODES_PER_WORD);
        for (i, (values, words)) in self.values.chunks(PIECE).zip(words).enumerate() {
            let mut codes = [ZERO; PIECE];
            let start = self.start + i * PIECE;
            for (run, group) in runs(self.groups, start, values.len()) {
                let pairs = codes[run.clone()].iter_mut().zip(&values[run]);
                match self.groups.inner {
                    1 => pairs.for_each(|(c, v)| *c = code(v * self.inverse[group])),
                    _ => {
                        let inverse = &self.inverse[group..];
                        pairs.zip(inverse).for_each(|((c, v), s)| *c = code(v * s));
                    }
                }
            }
            for (output, word) in words.iter_mut().zip(pack(&codes)) {
                output.write(word);
            }
        }
    }
}

/// Returns the words of a piece of codes. Two codes are merged in each pair of bytes, then those in each
/// four bytes, which the compiler vectorizes.
#[inline(always)]
fn pack(codes: &[u8; PIECE]) -> [u32; PIECE / CODES_PER_WORD] {
    let (fours, _) = codes.as_chunks::<4>();
    let mut bytes = [0u8; PIECE / 4];
    for (byte, &four) in bytes.iter_mut().zip(fours) {
        let four = u32::from_le_bytes(four);
        let two = (four | four >> 6) & 0x000F_000F;
        *byte = (two | two >> 12) as u8;
    }
    let mut words = [0; PIECE / CODES_PER_WORD];
    for (word, &bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(bytes);
    }
    words
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
    let rows = groups.num_elements() / row_length;
    assert_eq!(words.len(), rows * words_per_row(row_length), "{rows} rows");
    let fill = |output: &mut [MaybeUninit<f32>]| {
        let rows = words.par_chunks(words_per_row(row_length));
        let rows = rows.zip(output.par_chunks_mut(row_length));
        for_each_row(rows, row_length, |start, (words, values)| {
            vectorized(UnpackRow {
                words,
                start,
                scales,
                groups,
                values,
            });
        });
    };
    // SAFETY: every value of every row is written.
    unsafe { filled(groups.num_elements(), fill) }
}

struct UnpackRow<'a> {
    words: &'a [u32],
    /// Position of the first value in the tensor.
    start: usize,
    scales: &'a [f32],
    groups: Groups,
    values: &'a mut [MaybeUninit<f32>],
}

impl pulp::NullaryFnOnce for UnpackRow<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self {
            words,
            scales,
            values,
            groups,
            ..
        } = self;
        let row_length = values.len();
        for (run, group) in runs(groups, self.start, row_length) {
            let at = run.start;
            let values = &mut values[run];
            let length = values.len();
            match groups.inner {
                1 => {
                    let scale = scales[group];
                    unpack(words, at, values, |_| scale, |_| iter::repeat([scale; _]));
                }
                _ => {
                    let scales = &scales[group..][..length];
                    let lanes = |first: usize| scales[first..].as_chunks().0.iter().copied();
                    unpack(words, at, values, |i| scales[i], lanes);
                }
            }
        }
    }
}

/// Writes the codes of a row from `start` on, each multiplied by its `scale`. Whole words are written at
/// once, with the arrays of scales that `scales` returns from a value on.
#[inline(always)]
fn unpack<Scales: Iterator<Item = [f32; CODES_PER_WORD]>>(
    words: &[u32],
    start: usize,
    values: &mut [MaybeUninit<f32>],
    scale: impl Fn(usize) -> f32,
    scales: impl Fn(usize) -> Scales,
) {
    let end = start + values.len();
    let first = start.next_multiple_of(CODES_PER_WORD).min(end);
    let last = first.max(end / CODES_PER_WORD * CODES_PER_WORD);
    for at in (start..first).chain(last..end) {
        let code = unpack_code(words[at / CODES_PER_WORD], at % CODES_PER_WORD);
        values[at - start].write(code as f32 * scale(at - start));
    }
    let words = &words[first / CODES_PER_WORD..];
    let (groups, _) = values[first - start..last - start].as_chunks_mut::<CODES_PER_WORD>();
    for ((values, &word), scales) in groups.iter_mut().zip(words).zip(scales(first - start)) {
        // Prevents the compiler from vectorizing over sixteen words, with gathers.
        let word = black_box(word);
        for (i, (value, scale)) in values.iter_mut().zip(scales).enumerate() {
            let code = (word >> (BITS_PER_CODE * i) & 3) as i32 - 1;
            value.write(code as f32 * scale);
        }
    }
}
