//! What the loops over slices share: written so that the compiler turns them into SIMD instructions,
//! over all threads where there is enough to do.

use std::{iter, mem::MaybeUninit, ops::Range};

use bitnet_burn_kernels::Groups;
use rayon::prelude::*;

/// Values below which one thread is faster than waking the others (about 20 us of work).
pub(super) const PARALLEL_THRESHOLD: usize = 1 << 15;

/// Values handed to a thread at a time.
pub(super) const PARALLEL_CHUNK: usize = 1 << 14;

/// Independent partial results of a reduction, so that it is not one long chain of operations.
pub(super) const LANES: usize = 16;

/// Runs a loop compiled for the widest SIMD instructions that the processor has. What it calls
/// must be inlined, or it is compiled for the least that the target has; a large closure may not be,
/// so that it is a type with an inlined [`call`](pulp::NullaryFnOnce::call).
pub(super) fn vectorized<F: pulp::NullaryFnOnce>(f: F) -> F::Output {
    pulp::Arch::new().dispatch(f)
}

/// A vector of `len` elements that `fill` writes: zeros before would be one more pass over the
/// memory.
///
/// # Safety
///
/// `fill` must write all of them.
pub(super) unsafe fn filled<E>(len: usize, fill: impl FnOnce(&mut [MaybeUninit<E>])) -> Vec<E> {
    let mut values = Vec::with_capacity(len);
    fill(&mut values.spare_capacity_mut()[..len]);
    // SAFETY: the caller's promise.
    unsafe { values.set_len(len) };
    values
}

/// A vector as long as `input`, which `f(start, input, output)` writes in pieces of `chunk` values,
/// in parallel if there are many.
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
    // SAFETY: the pieces are the whole, and the caller's promise.
    unsafe { filled(input.len(), fill) }
}

/// Asks for the memory some kilobytes behind values that are read one after the other: the processor
/// itself does so within a page only.
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

/// Values from those that are read to those that are asked for.
#[cfg(target_arch = "x86_64")]
const PREFETCH: usize = 1024;

/// Whole rows of `row_length` values, about [`PARALLEL_CHUNK`] of them.
pub(super) fn rows_chunk(row_length: usize) -> usize {
    (PARALLEL_CHUNK / row_length).max(1) * row_length
}

/// The runs of neighbours among `length` values, from position `start` of a tensor on, that share the
/// scale of a group, or have those of it and the groups after it: their values, and the group. (An
/// iterator, since a closure that is given to a function may not be inlined.)
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

/// `value` or the bound that it is beyond; a NaN stays a NaN. ([`f32::clamp`] looks whether the bounds
/// are in order, each time.)
#[inline(always)]
pub(super) fn clamp(value: f32, min: f32, max: f32) -> f32 {
    let value = if value < min { min } else { value };
    if value > max { max } else { value }
}

/// Nearest integer, ties to even, for values within +-2^22: adding `1.5 * 2^23` leaves no bits
/// for a fraction. (`round_ties_even` is a function call on x86-64 without SSE4.1.)
#[inline(always)]
pub(super) fn round(value: f32) -> f32 {
    (value + MAGIC) - MAGIC
}

/// `1.5 * 2^23`.
pub(super) const MAGIC: f32 = 12_582_912.0;
