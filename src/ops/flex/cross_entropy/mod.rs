//! Output head and cross-entropy, some rows at a time: products on all threads, then the softmax of each row.

mod row;

use std::ops::Range;

use burn::backend::{Shape, TensorMetadata, tensor::FloatTensor};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::{
    matrix::{Matrix, parallel_product},
    values::{Values, from_values, from_values_like, tensor},
};
use crate::ops::{CrossEntropyOps, CrossEntropyTerms};
use row::{Row, loss_and_gradient};

/// Logits that are in memory at a time, 64 MiB.
const LOGITS: usize = 1 << 24;

/// Weight `[classes, d_model]`, also as the transpose of a matrix in memory.
struct Weight<'a> {
    values: Values<'a>,
    classes: usize,
    d_model: usize,
    is_transposed: bool,
}

impl<'a> Weight<'a> {
    fn of(weight: &'a FlexTensor, transposed: &'a Option<FlexTensor>) -> Self {
        let [classes, d_model] = weight.shape().dims();
        Self {
            values: Values::of(transposed.as_ref().unwrap_or(weight)),
            classes,
            d_model,
            is_transposed: transposed.is_some(),
        }
    }

    fn matrix(&self) -> Matrix<'_> {
        let (classes, d_model) = (self.classes, self.d_model);
        match self.is_transposed {
            false => Matrix::new(&self.values, classes, d_model, d_model),
            true => Matrix::new(&self.values, d_model, classes, classes).transposed(),
        }
    }
}

/// Returns the transpose of a weight that is contiguous, if the weight is not.
fn transposed(weight: &FlexTensor) -> Option<FlexTensor> {
    let strides = weight.layout().strides();
    (strides[0] == 1 && strides[1] != 1).then(|| weight.transpose(0, 1))
}

/// Rows that count, with their targets and weights.
struct Rows {
    /// Features of the rows, one after another.
    x: Vec<f32>,
    /// Number of each row in the input.
    numbers: Vec<usize>,
    targets: Vec<usize>,
    weights: Vec<f32>,
}

impl Rows {
    fn counted(x: &[f32], targets: &FlexTensor, weights: &[f32], [classes, d]: [usize; 2]) -> Self {
        let indices = targets.to_contiguous().into_data();
        let indices: Vec<i64> = indices.iter::<i64>().collect();
        let counted = (0..weights.len()).filter(|&i| weights[i] != 0.0);
        let numbers: Vec<usize> = counted.collect();
        let target = |&i: &usize| {
            let target = usize::try_from(indices[i]).unwrap_or(usize::MAX);
            assert!(
                target < classes,
                "the target {} of row {i} is not one of {classes} classes",
                indices[i]
            );
            target
        };
        Self {
            x: numbers
                .iter()
                .flat_map(|i| &x[i * d..][..d])
                .copied()
                .collect(),
            targets: numbers.iter().map(target).collect(),
            weights: numbers.iter().map(|&i| weights[i]).collect(),
            numbers,
        }
    }

    fn parts(&self, classes: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (rows, at_a_time) = (self.numbers.len(), (LOGITS / classes).clamp(1, 1 << 10));
        let first = (0..rows).step_by(at_a_time);
        first.map(move |first| first..rows.min(first + at_a_time))
    }
}

/// Gradients of the features of the counted rows, and of the weight in its layout if it is asked for.
struct Gradients {
    of_x: Vec<f32>,
    of_weight: Option<Vec<f32>>,
}

/// Returns the sum of the weighted losses of rows, and writes their gradients.
fn sum(
    rows: &Rows,
    weight: &Weight<'_>,
    terms: CrossEntropyTerms,
    mut gradients: Option<&mut Gradients>,
) -> f64 {
    let Weight {
        classes, d_model, ..
    } = *weight;
    let mut logits = Vec::new();
    let mut sum = 0.0;
    for part in rows.parts(classes) {
        let n = part.len();
        let x = Matrix::new(&rows.x[part.start * d_model..], n, d_model, d_model);
        logits.resize(n * classes, 0.0);
        parallel_product(&mut logits, classes, x, weight.matrix().transposed(), false);
        let losses: Vec<f64> = (logits.par_chunks_exact_mut(classes))
            .zip(
                rows.targets[part.clone()]
                    .par_iter()
                    .zip(&rows.weights[part.clone()]),
            )
            .map(|(logits, (&target, &weight))| {
                let row = Row {
                    target,
                    weight,
                    terms,
                };
                loss_and_gradient(logits, row, gradients.is_some())
            })
            .collect();
        sum += losses.iter().sum::<f64>();
        if let Some(gradients) = &mut gradients {
            gradients.add(part, Matrix::new(&logits, n, classes, classes), x, weight);
        }
    }
    sum
}

impl Gradients {
    fn new(rows: &Rows, weight: &Weight<'_>, of_weight: bool) -> Self {
        Self {
            of_x: vec![0.0; rows.x.len()],
            of_weight: of_weight.then(|| vec![0.0; weight.classes * weight.d_model]),
        }
    }

    /// Adds the products of the gradients of the logits of some rows.
    fn add(&mut self, part: Range<usize>, grads: Matrix<'_>, x: Matrix<'_>, weight: &Weight<'_>) {
        let d_model = weight.d_model;
        let of_x = &mut self.of_x[part.start * d_model..part.end * d_model];
        parallel_product(of_x, d_model, grads, weight.matrix(), false);
        if let Some(of_weight) = &mut self.of_weight {
            let add = part.start > 0;
            match weight.is_transposed {
                false => parallel_product(of_weight, d_model, grads.transposed(), x, add),
                true => parallel_product(of_weight, weight.classes, x.transposed(), grads, add),
            }
        }
    }

    /// Returns the gradient of all rows of the input `[all, d_model]`, zero where a row does not count.
    fn of_all_rows(&self, rows: &Rows, all: usize, d_model: usize) -> Vec<f32> {
        let mut of_x = vec![0.0; all * d_model];
        for (from, &to) in self.of_x.chunks_exact(d_model).zip(&rows.numbers) {
            of_x[to * d_model..][..d_model].copy_from_slice(from);
        }
        of_x
    }
}

impl CrossEntropyOps for Flex {
    fn linear_cross_entropy(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: FlexTensor,
        row_weights: FloatTensor<Self>,
        terms: CrossEntropyTerms,
    ) -> FloatTensor<Self> {
        let transposed = transposed(&weight);
        let weight = Weight::of(&weight, &transposed);
        let size = [weight.classes, weight.d_model];
        let rows = Rows::counted(&Values::of(&x), &targets, &Values::of(&row_weights), size);
        let sum = sum(&rows, &weight, terms, None);
        tensor(vec![sum as f32], Shape::new([1]))
    }

    fn linear_cross_entropy_gradients(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: FlexTensor,
        row_weights: FloatTensor<Self>,
        terms: CrossEntropyTerms,
        of_weight: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let transposed = transposed(&weight);
        let dtype = weight.dtype();
        let weight = Weight::of(&weight, &transposed);
        let size = [weight.classes, weight.d_model];
        let rows = Rows::counted(&Values::of(&x), &targets, &Values::of(&row_weights), size);
        let mut gradients = Gradients::new(&rows, &weight, of_weight);
        let sum = sum(&rows, &weight, terms, Some(&mut gradients));
        let of_x = gradients.of_all_rows(&rows, x.shape()[0], weight.d_model);
        let of_weight = match (gradients.of_weight, weight.is_transposed) {
            (None, _) => from_values(Vec::new(), Shape::new([0]), dtype),
            (Some(values), false) => from_values(values, Shape::new(size), dtype),
            (Some(values), true) => {
                let [classes, d_model] = size;
                from_values(values, Shape::new([d_model, classes]), dtype).transpose(0, 1)
            }
        };
        (
            tensor(vec![sum as f32], Shape::new([1])),
            from_values_like(of_x, &x),
            of_weight,
        )
    }
}
