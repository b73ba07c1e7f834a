use rten_simd::SimdUnaryOp;
use rten_vecmath::Exp;

use crate::ops::{
    CrossEntropyTerms,
    flex::slices::{LANES, vectorized},
};

/// Values whose sums are added in `f32`; the sums of pieces are added in `f64`.
const PIECE: usize = 4096;

/// Target and weight of a row of logits.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub target: usize,
    pub weight: f32,
    pub terms: CrossEntropyTerms,
}

/// Returns the weighted loss of a row of logits, and replaces them by their weighted gradient if it is asked for.
pub(super) fn loss_and_gradient(logits: &mut [f32], row: Row, gradient: bool) -> f64 {
    let CrossEntropyTerms {
        label_smoothing,
        z_loss,
    } = row.terms;
    let largest = vectorized(Largest(logits));
    let mut target = 0.0;
    let (mut shifted_sum, mut sum) = (0.0, 0.0);
    for (i, piece) in logits.chunks_mut(PIECE).enumerate() {
        shifted_sum += f64::from(vectorized(Shift(piece, largest)));
        // Read before its exponential takes its place.
        if row.target / PIECE == i {
            target = piece[row.target % PIECE];
        }
        Exp {}.map_mut(piece);
        sum += f64::from(vectorized(Sum(piece)));
    }
    let log_sum = sum.ln();
    let (smoothing, z_loss) = (f64::from(label_smoothing), f64::from(z_loss));
    let log_normalizer = log_sum + f64::from(largest);
    let loss = log_sum
        - (1.0 - smoothing) * f64::from(target)
        - smoothing * shifted_sum / logits.len() as f64
        + z_loss * log_normalizer * log_normalizer;
    if gradient {
        let weight = f64::from(row.weight);
        let factor = weight * (1.0 + 2.0 * z_loss * log_normalizer) / sum;
        let share = weight * smoothing / logits.len() as f64;
        vectorized(Gradient(logits, factor as f32, share as f32));
        logits[row.target] -= (weight * (1.0 - smoothing)) as f32;
    }
    f64::from(row.weight) * loss
}

/// The largest value; NaN if there is one.
struct Largest<'a>(&'a [f32]);

impl pulp::NullaryFnOnce for Largest<'_> {
    type Output = f32;

    #[inline(always)]
    fn call(self) -> f32 {
        let larger = |a: f32, b: f32| if a > b || a.is_nan() { a } else { b };
        let (chunks, rest) = self.0.as_chunks::<LANES>();
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for chunk in chunks {
            for (lane, &value) in lanes.iter_mut().zip(chunk) {
                *lane = larger(*lane, value);
            }
        }
        lanes
            .iter()
            .chain(rest)
            .copied()
            .fold(f32::NEG_INFINITY, larger)
    }
}

/// Subtracts a value from all, and returns the sum of the differences.
struct Shift<'a>(&'a mut [f32], f32);

impl pulp::NullaryFnOnce for Shift<'_> {
    type Output = f32;

    #[inline(always)]
    fn call(self) -> f32 {
        let (chunks, rest) = self.0.as_chunks_mut::<LANES>();
        let mut lanes = [0.0; LANES];
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *value -= self.1;
                *lane += *value;
            }
        }
        rest.iter_mut().for_each(|value| *value -= self.1);
        lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
    }
}

struct Sum<'a>(&'a [f32]);

impl pulp::NullaryFnOnce for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn call(self) -> f32 {
        let (chunks, rest) = self.0.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane += value;
            }
        }
        lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
    }
}

/// Multiplies all values by a factor, and subtracts a value from them.
struct Gradient<'a>(&'a mut [f32], f32, f32);

impl pulp::NullaryFnOnce for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for value in self.0 {
            *value = *value * self.1 - self.2;
        }
    }
}
