//! Causal attention, some queries of a head at a time: their scores stay in the cache, what they must
//! not look at is not computed, and nothing is kept for the gradients, which compute the weights again.

use std::ops::Range;

use burn::backend::{DType, Shape, TensorMetadata};
use burn_flex::FlexTensor;
use rayon::prelude::*;
use rten_simd::SimdOp;
use rten_vecmath::Softmax;

use super::{
    disjoint::Disjoint,
    from_values,
    matrix::{Matrix, product},
    slices::{filled, vectorized},
    widened,
};

/// Queries of a head at a time.
const QUERIES: usize = 128;

/// Products of values below which one thread is faster than waking the others.
const PARALLEL_THRESHOLD: usize = 1 << 18;

/// A tensor `[batch, heads, positions, d_head]` whose rows of `d_head` values may lie anywhere.
struct Heads {
    tensor: FlexTensor,
    strides: [usize; 3],
}

impl Heads {
    fn new(tensor: FlexTensor) -> Self {
        let mut tensor = widened(tensor);
        let strides = tensor.layout().strides();
        if strides[3] != 1 || strides.iter().any(|&stride| stride < 0) {
            tensor = tensor.to_contiguous();
        }
        let strides = tensor.layout().strides();
        let strides = [0, 1, 2].map(|i| strides[i] as usize);
        Self { tensor, strides }
    }

    fn dims(&self) -> [usize; 4] {
        self.tensor.shape().dims()
    }

    /// Some positions of a head.
    fn rows(&self, [batch, head]: [usize; 2], positions: Range<usize>) -> Matrix<'_> {
        let [by_batch, by_head, by_position] = self.strides;
        let start = self.tensor.layout().start_offset()
            + batch * by_batch
            + head * by_head
            + positions.start * by_position;
        let values = &self.tensor.storage::<f32>()[start..];
        Matrix::new(values, positions.len(), self.dims()[3], by_position)
    }
}

/// What attends to what.
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

    /// The head of the keys that a head of the queries looks at.
    fn key_head(&self, head: usize) -> usize {
        head / (self.heads / self.key_heads)
    }

    /// The positions that the last of some queries sees.
    fn seen(&self, queries: &Range<usize>) -> usize {
        self.length - self.positions + queries.end
    }

    /// Blocks of queries of each head.
    fn blocks(&self) -> usize {
        self.positions.div_ceil(QUERIES)
    }

    fn block(&self, i: usize) -> Range<usize> {
        i * QUERIES..self.positions.min((i + 1) * QUERIES)
    }

    /// The softmax of the scores of some queries, `[queries, seen]`: zero at what one must not look at.
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

    /// Calls `task` with the numbers below `tasks`, in parallel if there is much to compute, and a buffer
    /// of a thread.
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
}

/// An output `[batch, positions, heads, d_head]`: the heads of a position are neighbours, as the next
/// projection takes them.
struct Output<'a> {
    values: Disjoint<'a>,
    positions: usize,
    heads: usize,
    d_head: usize,
}

impl Output<'_> {
    /// Writes rows of a head.
    ///
    /// # Safety
    ///
    /// No other thread may write them.
    unsafe fn write(&self, [batch, head]: [usize; 2], first: usize, rows: &[f32]) {
        for (i, row) in rows.chunks_exact(self.d_head).enumerate() {
            let position = batch * self.positions + first + i;
            let start = (position * self.heads + head) * self.d_head;
            // SAFETY: rows do not overlap, and the caller's promise.
            let output = unsafe { self.values.at(start..start + self.d_head) };
            output.write_copy_of_slice(row);
        }
    }
}

pub(super) fn causal_attention(inputs: [FlexTensor; 3]) -> FlexTensor {
    let dtype = inputs[0].dtype();
    let attention = Attention::new(inputs);
    let Attention {
        batch,
        heads,
        positions,
        length,
        d_head,
        ..
    } = attention;
    let fill = |output: &mut [_]| {
        let output = Output {
            values: Disjoint::new(output),
            positions,
            heads,
            d_head,
        };
        let blocks = attention.blocks();
        let buffers = || {
            let queries = QUERIES.min(positions);
            (vec![0.0; queries * length], vec![0.0; queries * d_head])
        };
        attention.for_each(batch * heads * blocks, buffers, |(weights, context), i| {
            let (head, block) = (i / blocks, i % blocks);
            let at = [head / heads, head % heads];
            let queries = attention.block(block);
            let seen = attention.seen(&queries);
            let weights = attention.weights(at, queries.clone(), weights);
            let weights = Matrix::new(weights, queries.len(), seen, seen);
            let value = attention
                .value
                .rows([at[0], attention.key_head(at[1])], 0..seen);
            let context = &mut context[..queries.len() * d_head];
            product(context, 1.0, weights, value, false);
            // SAFETY: each block is computed once.
            unsafe { output.write(at, queries.start, context) };
        });
    };
    // SAFETY: every row of every head is written.
    let values = unsafe { filled(batch * positions * heads * d_head, fill) };
    by_head(values, [batch, positions, heads, d_head], dtype)
}

/// `[batch, positions, heads, d_head]` as `[batch, heads, positions, d_head]`.
fn by_head(values: Vec<f32>, shape: [usize; 4], dtype: DType) -> FlexTensor {
    from_values(values, Shape::new(shape), dtype).transpose(1, 2)
}

/// What a thread needs to compute the gradients of a head of the keys.
struct Buffers {
    weights: Vec<f32>,
    of_weights: Vec<f32>,
    of_query: Vec<f32>,
    of_key: Vec<f32>,
    of_value: Vec<f32>,
}

/// `dS = P (dP - sum P dP)` of each row, in place of `dP`.
struct OfScores<'a> {
    weights: &'a [f32],
    of_weights: &'a mut [f32],
    seen: usize,
}

impl pulp::NullaryFnOnce for OfScores<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let weights = self.weights.chunks_exact(self.seen);
        for (weights, of_weights) in weights.zip(self.of_weights.chunks_exact_mut(self.seen)) {
            let mean = super::rms_norm::dot(weights, of_weights);
            for (of_weight, weight) in of_weights.iter_mut().zip(weights) {
                *of_weight = weight * (*of_weight - mean);
            }
        }
    }
}

impl Attention {
    /// Computes the gradients of a block of queries, and adds to those of keys and values.
    fn gradients(
        &self,
        at: [usize; 2],
        queries: Range<usize>,
        grads: &Heads,
        buffers: &mut Buffers,
    ) {
        let (seen, d_head, n) = (self.seen(&queries), self.d_head, queries.len());
        let key_at = [at[0], self.key_head(at[1])];
        let weights = self.weights(at, queries.clone(), &mut buffers.weights);
        let grads = grads.rows(at, queries.clone());
        let of_weights = &mut buffers.of_weights[..n * seen];
        let value = self.value.rows(key_at, 0..seen);
        product(of_weights, 1.0, grads, value.transposed(), false);
        vectorized(OfScores {
            weights,
            of_weights,
            seen,
        });
        let [weights, of_scores] = [&*weights, of_weights].map(|m| Matrix::new(m, n, seen, seen));
        let of_value = &mut buffers.of_value[..seen * d_head];
        product(of_value, 1.0, weights.transposed(), grads, true);
        let (query, key) = (self.query.rows(at, queries), self.key.rows(key_at, 0..seen));
        let of_query = &mut buffers.of_query[..n * d_head];
        product(of_query, self.scale(), of_scores, key, false);
        let of_key = &mut buffers.of_key[..seen * d_head];
        product(of_key, self.scale(), of_scores.transposed(), query, true);
    }
}

/// The gradients of queries, keys and values.
pub(super) fn gradient(inputs: [FlexTensor; 3], grads: FlexTensor) -> [FlexTensor; 3] {
    let dtype = inputs[0].dtype();
    let attention = Attention::new(inputs);
    let grads = Heads::new(grads);
    let Attention {
        batch,
        heads,
        key_heads,
        positions,
        length,
        d_head,
        ..
    } = attention;
    let buffers = || {
        let queries = QUERIES.min(positions);
        Buffers {
            weights: vec![0.0; queries * length],
            of_weights: vec![0.0; queries * length],
            of_query: vec![0.0; queries * d_head],
            of_key: vec![0.0; length * d_head],
            of_value: vec![0.0; length * d_head],
        }
    };
    let fill = |of_query: &mut [_], of_key: &mut [_], of_value: &mut [_]| {
        let output = |values, positions, heads| Output {
            values: Disjoint::new(values),
            positions,
            heads,
            d_head,
        };
        let of_query = output(of_query, positions, heads);
        let [of_key, of_value] = [of_key, of_value].map(|values| output(values, length, key_heads));
        attention.for_each(batch * key_heads, buffers, |buffers, i| {
            let (batch, key_head) = (i / key_heads, i % key_heads);
            buffers.of_key.fill(0.0);
            buffers.of_value.fill(0.0);
            let group = heads / key_heads;
            for head in key_head * group..(key_head + 1) * group {
                for block in 0..attention.blocks() {
                    let queries = attention.block(block);
                    attention.gradients([batch, head], queries.clone(), &grads, buffers);
                    let rows = &buffers.of_query[..queries.len() * d_head];
                    // SAFETY: each block is computed once.
                    unsafe { of_query.write([batch, head], queries.start, rows) };
                }
            }
            // SAFETY: each head of the keys is computed once.
            unsafe {
                of_key.write([batch, key_head], 0, &buffers.of_key);
                of_value.write([batch, key_head], 0, &buffers.of_value);
            }
        });
    };
    let (queries, keys) = (
        batch * positions * heads * d_head,
        batch * length * key_heads * d_head,
    );
    let (mut of_key, mut of_value) = (Vec::new(), Vec::new());
    // SAFETY: every row of every head is written, of all three.
    let of_query = unsafe {
        filled(queries, |q| {
            of_key = filled(keys, |k| of_value = filled(keys, |v| fill(q, k, v)))
        })
    };
    let keys = [batch, length, key_heads, d_head];
    [
        by_head(of_query, [batch, positions, heads, d_head], dtype),
        by_head(of_key, keys, dtype),
        by_head(of_value, keys, dtype),
    ]
}
