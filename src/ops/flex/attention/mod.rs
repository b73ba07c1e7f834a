//! Causal attention, a block of queries of a head at a time: the scores stay in the CPU cache, masked
//! scores are not computed, and no weights are saved for backward, which recomputes them.

mod gradient;
mod heads;

use std::{mem::MaybeUninit, ops::Range};

use burn::backend::TensorMetadata;
use burn_flex::FlexTensor;
use rayon::prelude::*;
use rten_simd::SimdOp;
use rten_vecmath::Softmax;

use super::{
    matrix::{Matrix, product},
    slices::filled,
};

pub(super) use gradient::gradient;
use heads::{Heads, Output, by_head};

/// Number of queries of a head in a block.
const QUERIES: usize = 128;

/// Number of products below which one thread is faster than waking the others.
const PARALLEL_THRESHOLD: usize = 1 << 18;

/// Shapes of an attention, and its mapping of query heads to key heads.
struct Attention {
    query: Heads,
    key: Heads,
    value: Heads,
    batch: usize,
    heads: usize,
    key_heads: usize,
    positions: usize,
    length: usize,
    d_head: usize,
}

impl Attention {
    fn new([query, key, value]: [FlexTensor; 3]) -> Self {
        let [batch, heads, positions, d_head] = query.shape().dims();
        let [_, key_heads, length, _] = key.shape().dims();
        Self {
            query: Heads::new(query),
            key: Heads::new(key),
            value: Heads::new(value),
            batch,
            heads,
            key_heads,
            positions,
            length,
            d_head,
        }
    }

    fn scale(&self) -> f32 {
        (self.d_head as f64).sqrt().recip() as f32
    }

    /// Returns the key head of a query head.
    fn key_head(&self, head: usize) -> usize {
        head / (self.heads / self.key_heads)
    }

    /// Returns the number of positions that the last of some queries attends to.
    fn seen(&self, queries: &Range<usize>) -> usize {
        self.length - self.positions + queries.end
    }

    /// Returns the number of blocks of queries of each head.
    fn blocks(&self) -> usize {
        self.positions.div_ceil(QUERIES)
    }

    fn block(&self, i: usize) -> Range<usize> {
        i * QUERIES..self.positions.min((i + 1) * QUERIES)
    }

    /// Computes the softmax of the scores of some queries, `[queries, seen]`: zero where masked.
    fn weights<'a>(
        &self,
        [batch, head]: [usize; 2],
        queries: Range<usize>,
        buffer: &'a mut [f32],
    ) -> &'a mut [f32] {
        let seen = self.seen(&queries);
        let weights = &mut buffer[..queries.len() * seen];
        let first = self.seen(&(0..queries.start + 1));
        let query = self.query.rows([batch, head], queries);
        let key = self.key.rows([batch, self.key_head(head)], 0..seen);
        product(weights, self.scale(), query, key.transposed(), false);
        for (i, row) in weights.chunks_exact_mut(seen).enumerate() {
            let (looked_at, hidden) = row.split_at_mut(first + i);
            Softmax::new_mut(looked_at).dispatch();
            hidden.fill(0.0);
        }
        weights
    }

    /// Calls `task` with the numbers below `tasks` and a buffer per thread, in parallel if the computation is
    /// large.
    fn for_each<S>(
        &self,
        tasks: usize,
        init: impl Fn() -> S + Sync + Send,
        task: impl Fn(&mut S, usize) + Sync + Send,
    ) {
        let products = self.batch * self.heads * self.positions * self.length * self.d_head;
        if products < PARALLEL_THRESHOLD {
            let mut buffer = init();
            return (0..tasks).for_each(|i| task(&mut buffer, i));
        }
        (0..tasks)
            .into_par_iter()
            .with_max_len(1)
            .for_each_init(init, task);
    }

    /// Writes the output of a block of queries.
    ///
    /// # Safety
    ///
    /// No other thread may write it at the same time.
    unsafe fn write_block(
        &self,
        at: [usize; 2],
        queries: Range<usize>,
        (weights, context): &mut (Vec<f32>, Vec<f32>),
        output: &Output<'_>,
    ) {
        let (seen, n) = (self.seen(&queries), queries.len());
        let weights = self.weights(at, queries.clone(), weights);
        let weights = Matrix::new(weights, n, seen, seen);
        let value = self.value.rows([at[0], self.key_head(at[1])], 0..seen);
        let context = &mut context[..n * self.d_head];
        product(context, 1.0, weights, value, false);
        // SAFETY: guaranteed by the caller.
        unsafe { output.write(at, queries.start, context) };
    }
}

pub(super) fn causal_attention(inputs: [FlexTensor; 3]) -> FlexTensor {
    let dtype = inputs[0].dtype();
    let attention = Attention::new(inputs);
    let (batch, heads) = (attention.batch, attention.heads);
    let (positions, d_head) = (attention.positions, attention.d_head);
    let blocks = attention.blocks();
    let fill = |output: &mut [MaybeUninit<f32>]| {
        let output = Output::new(output, [positions, heads, d_head]);
        let buffers = || {
            let queries = QUERIES.min(positions);
            let zeros = |columns: usize| vec![0.0; queries * columns];
            (zeros(attention.length), zeros(d_head))
        };
        attention.for_each(batch * heads * blocks, buffers, |buffers, i| {
            let (head, queries) = (i / blocks, attention.block(i % blocks));
            // SAFETY: each block is computed once.
            unsafe {
                attention.write_block([head / heads, head % heads], queries, buffers, &output)
            };
        });
    };
    // SAFETY: every row of every head is written.
    let values = unsafe { filled(batch * positions * heads * d_head, fill) };
    by_head(values, [batch, positions, heads, d_head], dtype)
}
