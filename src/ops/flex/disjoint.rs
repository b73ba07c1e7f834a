//! Outputs written by several threads.

use std::{marker::PhantomData, mem::MaybeUninit, ops::Range};

/// An output whose non-overlapping parts are written by several threads.
pub(super) struct Disjoint<'a> {
    start: *mut MaybeUninit<f32>,
    len: usize,
    output: PhantomData<&'a mut [MaybeUninit<f32>]>,
}

// SAFETY: it is a `&mut` slice that is handed out in parts.
unsafe impl Sync for Disjoint<'_> {}

impl<'a> Disjoint<'a> {
    pub fn new(output: &'a mut [MaybeUninit<f32>]) -> Self {
        Self {
            start: output.as_mut_ptr(),
            len: output.len(),
            output: PhantomData,
        }
    }

    /// Returns a part of the output.
    ///
    /// # Safety
    ///
    /// Parts that are in use must not overlap.
    #[inline(always)]
    pub unsafe fn at(&self, range: Range<usize>) -> &'a mut [MaybeUninit<f32>] {
        assert!(range.end <= self.len && range.start <= range.end);
        // SAFETY: the part is inside the slice, and the caller guarantees the rest.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;
    use crate::ops::flex::slices::filled;

    #[test]
    fn parts_of_several_threads_make_up_the_output() {
        let (parts, length) = (40, 7);
        let fill = |output: &mut [MaybeUninit<f32>]| {
            let output = Disjoint::new(output);
            (0..parts).into_par_iter().for_each(|part| {
                // SAFETY: each part is that of one iteration.
                let part_of_output = unsafe { output.at(part * length..(part + 1) * length) };
                part_of_output.fill(MaybeUninit::new(part as f32));
            });
        };
        // SAFETY: the parts cover the whole.
        let values = unsafe { filled(parts * length, fill) };
        assert!((0..parts * length).all(|i| values[i] == (i / length) as f32));
    }
}
