//! Groups along the columns of blocks: a stripe of neighboring columns at a time, so that it is in the CPU
//! cache for the second pass.

use std::{marker::PhantomData, mem::MaybeUninit, ops::Range};

use bitnet_burn_kernels::Groups;
use rayon::prelude::*;

use super::{
    disjoint::Disjoint,
    quantizer::Quantizer,
    slices::{LANES, PARALLEL_CHUNK, PARALLEL_THRESHOLD, filled, vectorized},
};

/// Columns of a stripe: their values fit the L2 cache up to some thousand rows.
const WIDTH: usize = 64 * LANES;

/// Rows whose values are read at a time, while the partial results of the columns are in registers.
const ROWS: usize = 8;

/// Blocks of `size x inner` values in which each column is a group.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub values: &'a [f32],
    pub groups: Groups,
}

impl<'a> Columns<'a> {
    /// Returns the statistic of every column.
    pub fn statistics<Q: Quantizer>(self) -> Vec<f32> {
        let fill = |statistics: &mut [MaybeUninit<f32>]| {
            let statistics = Disjoint::new(statistics);
            self.for_each_stripe(|stripe| {
                // SAFETY: stripes have no column in common.
                let statistics = unsafe { statistics.at(stripe.groups()) };
                vectorized(Statistics {
                    stripe,
                    statistics,
                    quantizer: PhantomData::<Q>,
                });
            });
        };
        // SAFETY: the stripes cover all columns.
        unsafe { filled(self.groups.num_groups(), fill) }
    }

    /// Returns the nearest level of every value, and the scale of every column.
    pub fn fake_quant<Q: Quantizer>(self, quantizer: Q) -> (Vec<f32>, Vec<f32>) {
        let mut scales = Vec::new();
        let fill = |levels: &mut [MaybeUninit<f32>]| {
            let levels = Disjoint::new(levels);
            let fill = |scales: &mut [MaybeUninit<f32>]| {
                let scales = Disjoint::new(scales);
                self.for_each_stripe(|stripe| {
                    // SAFETY: stripes have no column in common.
                    let scales = unsafe { scales.at(stripe.groups()) };
                    let levels = &levels;
                    vectorized(FakeQuant {
                        stripe,
                        quantizer,
                        scales,
                        levels,
                    });
                });
            };
            // SAFETY: the stripes cover all columns.
            scales = unsafe { filled(self.groups.num_groups(), fill) };
        };
        // SAFETY: the stripes cover all columns, and each writes its levels in all rows.
        let levels = unsafe { filled(self.values.len(), fill) };
        (levels, scales)
    }

    fn for_each_stripe(self, f: impl Fn(Stripe<'a>) + Sync) {
        let Groups { outer, size, inner } = self.groups;
        // All stripes have the same width; at least one for each thread.
        let stripes = inner
            .div_ceil(WIDTH)
            .max(rayon::current_num_threads().div_ceil(outer));
        let width = inner.div_ceil(stripes).next_multiple_of(LANES);
        let stripes = inner.div_ceil(width);
        let stripe = |i: usize| {
            let first = i % stripes * width;
            f(Stripe {
                block: i / stripes,
                rows: &self.values[i / stripes * size * inner..][..size * inner],
                inner,
                columns: first..inner.min(first + width),
            });
        };
        if self.values.len() < PARALLEL_THRESHOLD {
            return (0..outer * stripes).for_each(stripe);
        }
        let at_a_time = (PARALLEL_CHUNK / (size * width)).max(1);
        let stripes = (0..outer * stripes).into_par_iter();
        stripes.with_min_len(at_a_time).for_each(stripe);
    }
}

/// Neighboring columns of a block.
struct Stripe<'a> {
    block: usize,
    /// The rows of the whole block.
    rows: &'a [f32],
    inner: usize,
    columns: Range<usize>,
}

impl Stripe<'_> {
    /// Returns the groups of the columns.
    fn groups(&self) -> Range<usize> {
        let first = self.block * self.inner;
        first + self.columns.start..first + self.columns.end
    }

    fn size(&self) -> usize {
        self.rows.len() / self.inner
    }

    /// Returns the partial result of each column.
    #[inline(always)]
    fn partials<Q: Quantizer>(&self) -> Vec<Q::Partial> {
        let mut partials = vec![Q::Partial::default(); self.columns.len()];
        for rows in self.rows.chunks(ROWS * self.inner) {
            let (vectors, rest) = partials.as_chunks_mut::<LANES>();
            let mut column = self.columns.start;
            for partials in vectors {
                let mut sums = *partials;
                for row in rows.chunks(self.inner) {
                    let values: &[f32; LANES] = row[column..].first_chunk().expect("inside");
                    for (sum, &value) in sums.iter_mut().zip(values) {
                        *sum = Q::with_value(*sum, value);
                    }
                }
                *partials = sums;
                column += LANES;
            }
            for (i, partial) in rest.iter_mut().enumerate() {
                for row in rows.chunks(self.inner) {
                    *partial = Q::with_value(*partial, row[column + i]);
                }
            }
        }
        partials
    }
}

struct Statistics<'a, Q> {
    stripe: Stripe<'a>,
    statistics: &'a mut [MaybeUninit<f32>],
    quantizer: PhantomData<Q>,
}

impl<Q: Quantizer> pulp::NullaryFnOnce for Statistics<'_, Q> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let partials = self.stripe.partials::<Q>();
        for (statistic, partial) in self.statistics.iter_mut().zip(partials) {
            statistic.write(Q::statistic(partial, self.stripe.size()));
        }
    }
}

struct FakeQuant<'a, Q> {
    stripe: Stripe<'a>,
    quantizer: Q,
    scales: &'a mut [MaybeUninit<f32>],
    /// The levels of the whole tensor.
    levels: &'a Disjoint<'a>,
}

impl<Q: Quantizer> pulp::NullaryFnOnce for FakeQuant<'_, Q> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self {
            stripe, quantizer, ..
        } = self;
        let statistics = (stripe.partials::<Q>().into_iter())
            .map(|partial| Q::statistic(partial, stripe.size()));
        let scales: Vec<f32> = statistics.map(|s| quantizer.scale(s)).collect();
        let inverse: Vec<f32> = scales.iter().map(|scale| 1.0 / scale).collect();
        self.scales.write_copy_of_slice(&scales);
        let first = stripe.block * stripe.rows.len();
        // From the last row, which is still in the cache.
        for (i, row) in stripe.rows.chunks(stripe.inner).enumerate().rev() {
            let at = first + i * stripe.inner + stripe.columns.start;
            let row = &row[stripe.columns.clone()];
            // SAFETY: stripes have no column in common.
            let levels = unsafe { self.levels.at(at..at + row.len()) };
            let scales = scales.iter().zip(&inverse);
            for ((level, &value), (&scale, &inverse)) in levels.iter_mut().zip(row).zip(scales) {
                level.write(quantizer.level(value, scale, inverse));
            }
        }
    }
}
