//! Products of matrices, summed in `f64`.

use burn::tensor::DType;

use super::values::*;

/// Returns half a unit in the last place, relative to the value.
pub fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => ROUNDING,
        DType::F16 => 1.0 / (1 << 11) as f64,
        _ => 1.0 / (1 << 8) as f64,
    }
}

/// Returns the sums of products of rows of `a` with rows of `b`, and the sums of their magnitudes.
pub fn products(a: &[f32], b: &[f32], k: usize) -> (Vec<f32>, Vec<f64>) {
    let pairs = a.chunks(k).flat_map(|a| b.chunks(k).map(move |b| (a, b)));
    pairs
        .map(|(a, b)| {
            let terms = || a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64);
            (
                terms().sum::<f64>() as f32,
                terms().map(f64::abs).sum::<f64>(),
            )
        })
        .unzip()
}

/// Checks a product, with one rounding for each term and addition, and one of the result.
pub fn assert_products(actual: &[f32], a: &[f32], b: &[f32], k: usize, dtype: DType, what: &str) {
    let (expected, magnitudes) = products(a, b, k);
    // Other devices may add up in the type of the result.
    let of_sum = if on_flex() { ROUNDING } else { rounding(dtype) };
    let bound = |i: usize| {
        (k + 4) as f64 * of_sum * magnitudes[i] + 2.0 * rounding(dtype) * expected[i].abs() as f64
    };
    assert_within(actual, &expected, bound, what);
}

/// Returns the row-major transpose of a matrix.
pub fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len() / columns;
    let at = |i: usize| values[i % rows * columns + i / rows];
    (0..values.len()).map(at).collect()
}
