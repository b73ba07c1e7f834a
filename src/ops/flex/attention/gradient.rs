use std::{mem::MaybeUninit, ops::Range};

use burn_flex::FlexTensor;

use super::{
    Attention, QUERIES,
    heads::{Heads, Output, by_head},
};
use crate::ops::flex::{
    matrix::{Matrix, product},
    rms_norm::dot,
    slices::{filled, vectorized},
};

/// Buffers of a thread for the gradients of a key head.
struct Buffers {
    weights: Vec<f32>,
    of_weights: Vec<f32>,
    of_query: Vec<f32>,
    of_key: Vec<f32>,
    of_value: Vec<f32>,
}

/// Computes `dS = P (dP - sum P dP)` of each row, in place of `dP`.
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
            let mean = dot(weights, of_weights);
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

impl Buffers {
    fn new(attention: &Attention) -> Self {
        let queries = QUERIES.min(attention.positions);
        let zeros = |rows: usize, columns: usize| vec![0.0; rows * columns];
        Self {
            weights: zeros(queries, attention.length),
            of_weights: zeros(queries, attention.length),
            of_query: zeros(queries, attention.d_head),
            of_key: zeros(attention.length, attention.d_head),
            of_value: zeros(attention.length, attention.d_head),
        }
    }
}

/// Inputs and outputs of the gradients.
struct Gradients<'a> {
    attention: &'a Attention,
    grads: &'a Heads,
    of_query: Output<'a>,
    of_key: Output<'a>,
    of_value: Output<'a>,
}

impl Gradients<'_> {
    /// Writes the gradients of a key head and of its query heads.
    ///
    /// # Safety
    ///
    /// No other thread may write them at the same time.
    unsafe fn write_head(&self, [batch, key_head]: [usize; 2], buffers: &mut Buffers) {
        let attention = self.attention;
        buffers.of_key.fill(0.0);
        buffers.of_value.fill(0.0);
        let group = attention.heads / attention.key_heads;
        for head in key_head * group..(key_head + 1) * group {
            for block in 0..attention.blocks() {
                let queries = attention.block(block);
                attention.gradients([batch, head], queries.clone(), self.grads, buffers);
                let rows = &buffers.of_query[..queries.len() * attention.d_head];
                // SAFETY: guaranteed by the caller.
                unsafe { self.of_query.write([batch, head], queries.start, rows) };
            }
        }
        // SAFETY: guaranteed by the caller.
        unsafe {
            self.of_key.write([batch, key_head], 0, &buffers.of_key);
            self.of_value.write([batch, key_head], 0, &buffers.of_value);
        }
    }
}

/// Returns the gradients of queries, keys and values.
pub(in crate::ops::flex) fn gradient(
    inputs: [FlexTensor; 3],
    grads: FlexTensor,
) -> [FlexTensor; 3] {
    let dtypes = inputs.each_ref().map(FlexTensor::dtype);
    let attention = Attention::new(inputs);
    let grads = Heads::new(grads);
    let (batch, key_heads) = (attention.batch, attention.key_heads);
    let of_queries = [attention.positions, attention.heads, attention.d_head];
    let of_keys = [attention.length, key_heads, attention.d_head];
    let fill = |[q, k, v]: [&mut [MaybeUninit<f32>]; 3]| {
        let gradients = Gradients {
            attention: &attention,
            grads: &grads,
            of_query: Output::new(q, of_queries),
            of_key: Output::new(k, of_keys),
            of_value: Output::new(v, of_keys),
        };
        let buffers = || Buffers::new(&attention);
        attention.for_each(batch * key_heads, buffers, |buffers, i| {
            // SAFETY: each key head is computed once.
            unsafe { gradients.write_head([i / key_heads, i % key_heads], buffers) };
        });
    };
    let len = |shape: [usize; 3]| batch * shape.iter().product::<usize>();
    let (queries, keys) = (len(of_queries), len(of_keys));
    let (mut of_key, mut of_value) = (Vec::new(), Vec::new());
    // SAFETY: every row of every head is written, in all three.
    let of_query = unsafe {
        filled(queries, |q| {
            of_key = filled(keys, |k| of_value = filled(keys, |v| fill([q, k, v])))
        })
    };
    let tensor = |values, [positions, heads, d_head]: [usize; 3], dtype| {
        by_head(values, [batch, positions, heads, d_head], dtype)
    };
    [
        tensor(of_query, of_queries, dtypes[0]),
        tensor(of_key, of_keys, dtypes[1]),
        tensor(of_value, of_keys, dtypes[2]),
    ]
}
