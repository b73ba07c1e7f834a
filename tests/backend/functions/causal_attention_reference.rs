//! Causal attention and its gradients by the formulas, in `f64`, and as a chain of Burn's operations.

use core::array;

use burn::tensor::{DType, Device, Int, Tensor, activation::softmax};

use crate::support::{transformer_reference::*, values::*};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    pub batch: usize,
    pub heads: usize,
    pub key_heads: usize,
    pub positions: usize,
    pub length: usize,
    pub d_head: usize,
}

impl Shape {
    pub const fn new(
        batch: usize,
        heads: [usize; 2],
        positions: [usize; 2],
        d_head: usize,
    ) -> Self {
        let ([heads, key_heads], [positions, length]) = (heads, positions);
        Self {
            batch,
            heads,
            key_heads,
            positions,
            length,
            d_head,
        }
    }

    /// Shapes of query, key, value and output.
    pub fn dims(self) -> [[usize; 4]; 4] {
        let query = [self.batch, self.heads, self.positions, self.d_head];
        let key = [self.batch, self.key_heads, self.length, self.d_head];
        [query, key, key, query]
    }
}

/// Query, key, value and the gradient of the output.
#[derive(Clone)]
pub struct Case {
    pub shape: Shape,
    pub inputs: [Vec<f32>; 4],
}

/// Sums of products with the weights, and their number of roundings.
pub struct Expected {
    pub sums: [Vec<Sum>; 4],
    pub operations: f64,
}

impl Expected {
    /// Asserts that these are the output, or the gradients of query, key or value.
    #[track_caller]
    pub fn check(&self, tensor: usize, actual: &[f32], dtype: DType, what: &str) {
        let what = format!("{what}, tensor {tensor}");
        assert_sums(actual, &self.sums[tensor], dtype, self.operations, &what);
    }
}

impl Case {
    pub fn new(shape: Shape, dtype: DType) -> Self {
        let dims = shape.dims();
        let draw = |i: usize| {
            let values = normal(dims[i].iter().product(), i as u64 + 1);
            // Scores of size 1, so that weights differ.
            let values: Vec<f32> = values.iter().map(|v| 10.0 * v).collect();
            rounded(&values, dtype)
        };
        let inputs = array::from_fn(draw);
        Self { shape, inputs }
    }

    pub fn tensors(&self, dtype: DType, device: &Device) -> [Tensor<4>; 4] {
        let dims = self.shape.dims();
        array::from_fn(|i| tensor(&self.inputs[i], dims[i], dtype, device))
    }

    fn row(&self, input: usize, start: usize) -> impl Iterator<Item = f64> {
        let row = &self.inputs[input][start * self.shape.d_head..][..self.shape.d_head];
        row.iter().map(|&value| value as f64)
    }

    /// Returns the dot product of two rows of inputs.
    fn dot(&self, (a, row_a): (usize, usize), (b, row_b): (usize, usize)) -> Sum {
        let mut sum = Sum::default();
        for (a, b) in self.row(a, row_a).zip(self.row(b, row_b)) {
            sum.add(a * b, (a * b).abs());
        }
        sum
    }

    /// Returns the weights of a query's keys, the first of which is row `keys`, and their roundings: each
    /// weight is `exp(s - max)` over a sum, with the relative error of the scores.
    fn weights(&self, query: usize, keys: usize, seen: usize) -> (Vec<f64>, f64) {
        let scale = (self.shape.d_head as f64).sqrt().recip();
        let scores: Vec<Sum> = (keys..keys + seen)
            .map(|key| self.dot((0, query), (1, key)))
            .collect();
        let largest = |of: fn(&Sum) -> f64| scores.iter().map(of).fold(f64::MIN, f64::max) * scale;
        let (max, magnitude) = (largest(|s| s.value), largest(|s| s.magnitude));
        let weights: Vec<f64> = scores
            .iter()
            .map(|s| (s.value * scale - max).exp())
            .collect();
        let sum: f64 = weights.iter().sum();
        let off = magnitude * (self.shape.d_head + 3) as f64;
        let operations = 2.0 * off + 2.0 * magnitude + seen as f64 + 8.0;
        (
            weights.iter().map(|weight| weight / sum).collect(),
            operations,
        )
    }

    /// Computes the output, and the gradients of query, key and value.
    pub fn expected(&self) -> Expected {
        let Shape {
            batch,
            heads,
            key_heads,
            positions,
            length,
            d_head,
        } = self.shape;
        let [query, key, value, output] = self
            .shape
            .dims()
            .map(|dims| vec![Sum::default(); dims.iter().product()]);
        let mut expected = Expected {
            sums: [output, query, key, value],
            operations: 0.0,
        };
        for row in 0..batch * heads * positions {
            let (head, position) = (row / positions, row % positions);
            let key_head = head / heads * key_heads + head % heads / (heads / key_heads);
            self.add_query(
                &mut expected,
                row,
                key_head * length,
                length - positions + position + 1,
            );
        }
        let sums = length.max(heads / key_heads * positions) + d_head;
        expected.operations = 3.0 * expected.operations + (2 * sums + 8) as f64;
        expected
    }

    /// Computes the gradient of the scores, `P (dP - sum P dP)` for weights `P` and `dP = dy v`.
    fn add_query(&self, expected: &mut Expected, query: usize, keys: usize, seen: usize) {
        let d_head = self.shape.d_head;
        let scale = (d_head as f64).sqrt().recip();
        let (weights, operations) = self.weights(query, keys, seen);
        expected.operations = expected.operations.max(operations);
        let of_weights: Vec<Sum> = (keys..keys + seen)
            .map(|key| self.dot((3, query), (2, key)))
            .collect();
        let mut mean = Sum::default();
        for (weight, of_weight) in weights.iter().zip(&of_weights) {
            mean.add(weight * of_weight.value, weight * of_weight.magnitude);
        }
        let [output, of_query, of_key, of_value] = &mut expected.sums;
        let add = |sums: &mut [Sum], row: usize, input, input_row, factor: f64, magnitude: f64| {
            for (sum, value) in sums[row * d_head..]
                .iter_mut()
                .zip(self.row(input, input_row))
            {
                sum.add(factor * value, magnitude * value.abs());
            }
        };
        for (i, (weight, of_weight)) in weights.into_iter().zip(of_weights).enumerate() {
            let key = keys + i;
            let of_score = weight * (of_weight.value - mean.value) * scale;
            let magnitude = weight * (of_weight.magnitude + mean.magnitude) * scale;
            add(output, query, 2, key, weight, weight);
            add(of_query, query, 1, key, of_score, magnitude);
            add(of_key, key, 0, query, of_score, magnitude);
            add(of_value, key, 3, query, weight, weight);
        }
    }
}

/// Returns the output, and the gradients of the requested inputs.
pub fn gradients(
    tensors: [Tensor<4>; 4],
    tracked: [bool; 3],
    attention: impl Fn(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>,
) -> [Option<Vec<f32>>; 4] {
    let [query, key, value, upstream] = tensors;
    let mut tracked = tracked.into_iter();
    let inputs = [query, key, value].map(|input| input.set_require_grad(tracked.next().unwrap()));
    let [query, key, value] = inputs.clone();
    let y = attention(query, key, value);
    let grads = (y.clone() * upstream).sum().backward();
    let [query, key, value] = inputs.map(|input| input.grad(&grads).map(floats));
    [Some(floats(y)), query, key, value]
}

/// Attention by Burn's operations: heads repeated, masked scores filled.
pub fn chain(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Tensor<4> {
    let [batch, heads, positions, d_head] = query.dims();
    let [_, key_heads, length, _] = key.dims();
    let repeated = |x: Tensor<4>| {
        let by_head = x.unsqueeze_dim::<5>(2).repeat_dim(2, heads / key_heads);
        by_head.reshape([batch, heads, length, d_head])
    };
    let device = query.device();
    let arange = |from, n| Tensor::<1, Int>::arange(from..length as i64, &device).reshape(n);
    let rows: Tensor<4, Int> = arange((length - positions) as i64, [1, 1, positions, 1]);
    let hidden = rows.lower(arange(0, [1, 1, 1, length]));
    let scores = query.matmul(repeated(key).swap_dims(2, 3)) / (d_head as f64).sqrt();
    let hidden = hidden.expand([batch, heads, positions, length]);
    softmax(scores.mask_fill(hidden, f32::NEG_INFINITY), 3).matmul(repeated(value))
}
