//! Outputs that several threads write.

use std::{marker::PhantomData, mem::MaybeUninit, ops::Range};

/// An output of which threads write parts that do not overlap.
pub(super) struct Disjoint<'a> {
    start: *mut MaybeUninit<f32>,
    len: usize,
    output: PhantomData<&'a mut [MaybeUninit<f32>]>,
}

// SAFETY: it is a `&mut` slice that is given away in parts.
unsafe impl Sync for Disjoint<'_> {}

impl<'a> Disjoint<'a> {
    pub fn new(output: &'a mut [MaybeUninit<f32>]) -> Self {
        Self {
            start: output.as_mut_ptr(),
            len: output.len(),
            output: PhantomData,
        }
    }

    /// A part of the output.
    ///
    /// # Safety
    ///
    /// Parts that are in use must not overlap.
    #[inline(always)]
    pub unsafe fn at(&self, range: Range<usize>) -> &'a mut [MaybeUninit<f32>] {
        assert!(range.end <= self.len && range.start <= range.end);
        // SAFETY: it is inside the slice, and the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
