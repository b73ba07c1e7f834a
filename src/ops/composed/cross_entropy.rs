//! Output head and cross-entropy as Burn operations, some rows at a time.

use std::ops::Range;

use burn::backend::{
    Backend, FloatDType, Shape, TensorMetadata,
    tensor::{FloatTensor, IntTensor},
};

use burn::tensor::IndexingUpdateOp;

use crate::ops::CrossEntropyTerms;

/// Logits that are in memory at a time.
const LOGITS: usize = 1 << 24;

/// Inputs of a loss. Sums are in `f32`.
struct Head<B: Backend> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    targets: IntTensor<B>,
    row_weights: FloatTensor<B>,
    terms: CrossEntropyTerms,
    rows: usize,
    classes: usize,
}

/// Loss and probabilities of some rows.
struct Rows<B: Backend> {
    /// `[rows, 1]`
    losses: FloatTensor<B>,
    /// `[rows, classes]`
    probabilities: FloatTensor<B>,
    /// Logs of the normalizers, `[rows, 1]`.
    log_sums: FloatTensor<B>,
    /// `[rows, 1]`
    targets: IntTensor<B>,
    weights: FloatTensor<B>,
}

impl<B: Backend> Head<B> {
    fn new(
        x: FloatTensor<B>,
        weight: FloatTensor<B>,
        targets: IntTensor<B>,
        row_weights: FloatTensor<B>,
        terms: CrossEntropyTerms,
    ) -> Self {
        let ([rows, _], [classes, _]) = (x.shape().dims(), weight.shape().dims());
        let column = Shape::new([rows, 1]);
        Self {
            x,
            weight,
            targets: B::int_reshape(targets, column.clone()),
            row_weights: B::float_reshape(row_weights, column),
            terms,
            rows,
            classes,
        }
    }

    fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<B> {
        let (rows, at_a_time) = (self.rows, (LOGITS / self.classes).clamp(1, 1 << 10));
        let first = (0..rows).step_by(at_a_time);
        first.map(move |first| first..rows.min(first + at_a_time))
    }

    fn x(&self, rows: Range<usize>) -> FloatTensor<B> {
        B::float_slice(self.x.clone(), &[rows.into()])
    }

    fn rows(&self, rows: Range<usize>) -> Rows<B> {
        let targets = B::int_slice(self.targets.clone(), &[rows.clone().into()]);
        let weights = B::float_slice(self.row_weights.clone(), &[rows.clone().into()]);
        let weight = B::float_transpose(self.weight.clone());
        let logits = B::float_matmul(self.x(rows), weight);
        let logits = B::float_cast(logits, FloatDType::F32);
        let largest = B::float_max_dim(logits.clone(), 1);
        // Differences from the largest logit: `exp` does not overflow.
        let shifted = B::float_sub(logits, largest.clone());
        let exp = B::float_exp(shifted.clone());
        let sums = B::float_sum_dim(exp.clone(), 1);
        let log_sum = B::float_log(sums.clone());
        let target = B::float_gather(1, shifted.clone(), targets.clone());
        let CrossEntropyTerms {
            label_smoothing,
            z_loss,
        } = self.terms;
        let target = B::float_mul_scalar(target, (1.0 - label_smoothing).into());
        let mut losses = B::float_sub(log_sum.clone(), target);
        if label_smoothing > 0.0 {
            let mean = B::float_mul_scalar(B::float_mean_dim(shifted, 1), label_smoothing.into());
            losses = B::float_sub(losses, mean);
        }
        let log_sums = B::float_add(log_sum, largest);
        if z_loss > 0.0 {
            let square = B::float_mul(log_sums.clone(), log_sums.clone());
            losses = B::float_add(losses, B::float_mul_scalar(square, z_loss.into()));
        }
        Rows {
            losses,
            probabilities: B::float_div(exp, sums),
            log_sums,
            targets,
            weights,
        }
    }

    /// Returns the gradient of the logits of some rows.
    fn gradient(&self, rows: Rows<B>) -> FloatTensor<B> {
        let CrossEntropyTerms {
            label_smoothing,
            z_loss,
        } = self.terms;
        let mut grads = rows.probabilities;
        if z_loss > 0.0 {
            let factor = B::float_mul_scalar(rows.log_sums, (2.0 * z_loss).into());
            grads = B::float_mul(grads, B::float_add_scalar(factor, 1.0f32.into()));
        }
        if label_smoothing > 0.0 {
            let share = label_smoothing / self.classes as f32;
            grads = B::float_sub_scalar(grads, share.into());
        }
        let at_target = B::float_zeros(rows.losses.shape(), &rows.losses.device(), FloatDType::F32);
        let at_target = B::float_add_scalar(at_target, (label_smoothing - 1.0).into());
        let grads = B::float_scatter(1, grads, rows.targets, at_target, IndexingUpdateOp::Add);
        B::float_mul(grads, rows.weights)
    }
}

/// Returns the sum of weighted losses; rows without weight may have losses that are not finite.
fn weighted<B: Backend>(losses: FloatTensor<B>, weights: FloatTensor<B>) -> FloatTensor<B> {
    let device = losses.device();
    let settings = burn::backend::get_or_init_device_settings::<B>(&device);
    let none = B::float_equal_elem(weights.clone(), 0.0f32.into(), settings.bool_dtype);
    let products = B::float_mul(losses, weights);
    B::float_sum(B::float_mask_fill(products, none, 0.0f32.into()))
}

pub(in crate::ops) fn linear_cross_entropy<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    targets: IntTensor<B>,
    row_weights: FloatTensor<B>,
    terms: CrossEntropyTerms,
) -> FloatTensor<B> {
    let head = Head::<B>::new(x, weight, targets, row_weights, terms);
    let sums = head.parts().map(|rows| {
        let rows = head.rows(rows);
        weighted::<B>(rows.losses, rows.weights)
    });
    sums.reduce(B::float_add).expect("a row or more")
}

pub(in crate::ops) fn linear_cross_entropy_gradients<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    targets: IntTensor<B>,
    row_weights: FloatTensor<B>,
    terms: CrossEntropyTerms,
    of_weight: bool,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let dtype = x.dtype().into();
    let head = Head::<B>::new(x, weight, targets, row_weights, terms);
    let (mut sums, mut of_x, mut weight_grads) = (Vec::new(), Vec::new(), Vec::new());
    for part in head.parts() {
        let rows = head.rows(part.clone());
        sums.push(weighted::<B>(rows.losses.clone(), rows.weights.clone()));
        let grads = B::float_cast(head.gradient(rows), dtype);
        of_x.push(B::float_matmul(grads.clone(), head.weight.clone()));
        if of_weight {
            let product = B::float_matmul(B::float_transpose(grads), head.x(part));
            let sum = weight_grads.pop();
            weight_grads.push(match sum {
                Some(sum) => B::float_add(sum, product),
                None => product,
            });
        }
    }
    let empty = || B::float_zeros(Shape::new([0]), &head.x.device(), dtype);
    (
        sums.into_iter()
            .reduce(B::float_add)
            .expect("a row or more"),
        B::float_cat(of_x, 0),
        weight_grads.pop().unwrap_or_else(empty),
    )
}
