//! Shared parts of the loops over slices: written so that the compiler vectorizes them, on all threads if
//! there is enough work.

use std::{iter, mem::MaybeUninit, ops::Range};

use bitnet_burn_kernels::Groups;
use rayon::prelude::*;

/// Number of values below which one thread is faster than waking the others (about 20 us of work).
pub(super) const PARALLEL_THRESHOLD: usize = 1 << 15;

/// Number of values handed to a thread at a time.
pub(super) const PARALLEL_CHUNK: usize = 1 << 14;

/// Number of independent partial results of a reduction, to avoid one long chain of operations.
pub(super) const LANES: usize = 16;

/// Runs a loop compiled for the widest SIMD instructions of the processor. Called functions must be inlined,
/// or they are compiled for the minimum of the target. A large closure may not be inlined, so this takes a
/// type with an inlined [`call`](pulp::NullaryFnOnce::call).
pub(super) fn vectorized<F: pulp::NullaryFnOnce>(f: F) -> F::Output {
    pulp::Arch::new().dispatch(f)
}

/// Returns a vector of `len` elements written by `fill`. Initializing it with zeros would need another pass
/// over the memory.
///
/// # Safety
///
/// `fill` must write all of them.
pub(super) unsafe fn filled<E>(len: usize, fill: impl FnOnce(&mut [MaybeUninit<E>])) -> Vec<E> {
    let mut values = Vec::with_capacity(len);
    fill(&mut values.spare_capacity_mut()[..len]);
    // SAFETY: guaranteed by the caller.
    unsafe { values.set_len(len) };
    values
}

/// Returns a vector as long as `input`, written by `f(start, input, output)` in pieces of `chunk` values, in
/// parallel if there are many.
///
/// # Safety
///
/// `f` must write all of its output.
pub(super) unsafe fn map_chunks<I: Sync, E: Send>(
    input: &[I],
    chunk: usize,
    f: impl Fn(usize, &[I], &mut [MaybeUninit<E>]) + Sync,
) -> Vec<E> {
    let fill = |output: &mut [MaybeUninit<E>]| {
        if input.len() < PARALLEL_THRESHOLD {
            return vectorized(|| f(0, input, output));
        }
        input
            .par_chunks(chunk)
            .zip(output.par_chunks_mut(chunk))
            .enumerate()
            .for_each(|(i, (input, output))| vectorized(|| f(i * chunk, input, output)));
    };
    // SAFETY: the pieces cover the whole, and the caller guarantees the rest.
    unsafe { filled(input.len(), fill) }
}

/// Prefetches the memory some kilobytes ahead of values that are read in order. The processor itself
/// prefetches only within a page.
#[inline(always)]
pub(super) fn prefetch(values: &[f32; 4 * LANES]) {
    #[cfg(target_arch = "x86_64")]
    for line in values.as_chunks::<LANES>().0 {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address is allowed; it reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(PREFETCH).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// Prefetch distance in values.
#[cfg(target_arch = "x86_64")]
const PREFETCH: usize = 1024;

/// Returns the number of values in whole rows of `row_length`, about [`PARALLEL_CHUNK`].
pub(super) fn rows_chunk(row_length: usize) -> usize {
    (PARALLEL_CHUNK / row_length).max(1) * row_length
}

/// Returns the runs of contiguous values among `length` values, from position `start` of a tensor on, that
/// share the scale of a group, or have the scales of it and of the groups after it: their values, and
/// the group. (An iterator, since a closure passed to a function may not be inlined.)
#[inline(always)]
pub(super) fn runs(
    groups: Groups,
    start: usize,
    length: usize,
) -> impl Iterator<Item = (Range<usize>, usize)> {
    let mut done = 0;
    iter::from_fn(move || {
        if done == length {
            return None;
        }
        let (first, position) = (done, start + done);
        let run = match groups.inner {
            1 => groups.size - position % groups.size,
            inner => inner - position % inner,
        };
        done = length.min(done + run);
        Some((first..done, groups.scale_index(position)))
    })
}

/// Clamps `value` to the bounds; a NaN stays a NaN. ([`f32::clamp`] checks the order of the bounds on each
/// call.)
#[inline(always)]
pub(super) fn clamp(value: f32, min: f32, max: f32) -> f32 {
    let value = if value < min { min } else { value };
    if value > max { max } else { value }
}

/// Returns the nearest integer, ties to even, for values within +-2^22: adding `1.5 * 2^23` leaves no
/// bits for a fraction. (`round_ties_even` is a function call on x86-64 without SSE4.1.)
#[inline(always)]
pub(super) fn round(value: f32) -> f32 {
    (value + MAGIC) - MAGIC
}

/// The rounding constant, `1.5 * 2^23`.
pub(super) const MAGIC: f32 = 12_582_912.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_all_threads_are_in_their_places() {
        let double = |_: usize, input: &[u8], output: &mut [MaybeUninit<u16>]| {
            for (output, &value) in output.iter_mut().zip(input) {
                output.write(2 * u16::from(value));
            }
        };
        for n in [0, 1, 1000, PARALLEL_THRESHOLD + 77] {
            let input: Vec<u8> = (0..n).map(|i| i as u8).collect();
            // SAFETY: `double` writes all of its output.
            let doubled = unsafe { map_chunks(&input, PARALLEL_CHUNK, double) };
            let expected: Vec<u16> = input.iter().map(|&value| 2 * u16::from(value)).collect();
            assert_eq!(doubled, expected);
        }
    }
}
