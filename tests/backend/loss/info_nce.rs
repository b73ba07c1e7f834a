//! [`InfoNceLoss`](bitnet_burn::loss::InfoNceLoss) against its definition in `f64`.

use bitnet_burn::loss::InfoNceLoss;
use burn::tensor::{DType, Device, Tensor};

use crate::support::{loss_reference::*, values::*};

const N: usize = 4;
const D: usize = 6;

/// Returns queries and keys with a standard deviation of 1, concatenated.
fn vectors() -> Vec<f32> {
    let scaled = normal(2 * N * D, 21).into_iter();
    scaled.map(|v| 10.0 * v).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Computes value and gradients with respect to queries and keys, concatenated.
fn reference(vectors: &[f64], n: usize, d: usize, config: &InfoNceLoss) -> Reference {
    let rows: Vec<&[f64]> = vectors.chunks(d).collect();
    let norms: Vec<f64> = rows
        .iter()
        .map(|x| {
            if config.normalize {
                dot(x, x).sqrt()
            } else {
                1.0
            }
        })
        .collect();
    let unit: Vec<Vec<f64>> = rows
        .iter()
        .zip(&norms)
        .map(|(x, norm)| x.iter().map(|v| v / norm).collect())
        .collect();
    let (queries, keys) = unit.split_at(n);
    let similarity = |i: usize, j: usize| dot(&queries[i], &keys[j]) / config.temperature;

    // Slope of the loss with respect to each similarity.
    let mut slopes = vec![vec![0.0; n]; n];
    let mut value = 0.0;
    let directions: &[bool] = if config.symmetric {
        &[false, true]
    } else {
        &[false]
    };
    let weight = 1.0 / (n * directions.len()) as f64;
    for &exchanged in directions {
        let place = |i: usize, j: usize| if exchanged { (j, i) } else { (i, j) };
        for i in 0..n {
            let row: Vec<f64> = (0..n)
                .map(|j| {
                    let (i, j) = place(i, j);
                    similarity(i, j)
                })
                .collect();
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let lse = max + row.iter().map(|s| (s - max).exp()).sum::<f64>().ln();
            value += weight * (lse - row[i]);
            for (j, s) in row.iter().enumerate() {
                let matched = if i == j { 1.0 } else { 0.0 };
                let (a, b) = place(i, j);
                slopes[a][b] += weight * ((s - lse).exp() - matched);
            }
        }
    }

    let mut gradient = vec![0.0; vectors.len()];
    for row in 0..2 * n {
        let slope = |other: usize| match row < n {
            true => slopes[row][other],
            false => slopes[other][row - n],
        };
        let others = if row < n { keys } else { queries };
        let direct: Vec<f64> = (0..d)
            .map(|c| (0..n).map(|j| slope(j) * others[j][c]).sum::<f64>() / config.temperature)
            .collect();
        let along = match config.normalize {
            true => dot(&direct, &unit[row]),
            false => 0.0,
        };
        for c in 0..d {
            gradient[row * d + c] = (direct[c] - along * unit[row][c]) / norms[row];
        }
    }
    (value, gradient)
}

/// Error bounds of the loss and of its gradient, in `f32`.
///
/// A similarity of vectors of length `l` has error `(d + 8) u l^2 / temperature`; the loss of a
/// row moves by at most twice that, and softmax over a range `R` adds `(n + 6 R + 32) u`, as
/// derived for the language model. The gradient is a sum, over `n` terms of weight `1 / n`, of
/// slopes with that error times a vector over the temperature, projected and scaled by one over
/// the norm of its own; the two projections at most double it, and `d` roundings are added.
fn bounds(vectors: &[f64], n: usize, d: usize, config: &InfoNceLoss) -> (f64, f64) {
    let norms = vectors.chunks(d).map(|x| dot(x, x).sqrt());
    let (shortest, longest) = norms.fold((f64::INFINITY, 0.0f64), |(low, high), norm| {
        (low.min(norm), high.max(norm))
    });
    let (length, scale) = match config.normalize {
        true => (1.0, shortest),
        false => (longest, 1.0),
    };
    let largest = length * length / config.temperature;
    let range = 2.0 * largest;
    let unit = ROUNDING * (2.0 * (d + 8) as f64 * largest + n as f64 + 6.0 * range + 32.0);
    let rounding = ROUNDING * (2 * d + n + 8) as f64;
    let gradient = 2.0 * (unit + rounding) * length / config.temperature / scale;
    (unit + range * ROUNDING * n as f64, gradient)
}

fn configs() -> Vec<InfoNceLoss> {
    let mut configs = Vec::new();
    for normalize in [true, false] {
        for symmetric in [false, true] {
            for temperature in [0.5, 2.0] {
                configs.push(
                    InfoNceLoss::new()
                        .with_normalize(normalize)
                        .with_symmetric(symmetric)
                        .with_temperature(temperature),
                );
            }
        }
    }
    configs
}

/// Computes the loss of a tensor with queries above keys.
fn loss(config: &InfoNceLoss, vectors: Tensor<2>) -> Tensor<1> {
    let [rows, d] = vectors.dims();
    let n = rows / 2;
    let queries = vectors.clone().slice([0..n, 0..d]);
    let keys = vectors.slice([n..rows, 0..d]);
    config.forward(queries, keys)
}

#[test]
fn the_reference_has_the_slope_of_its_value() {
    for config in configs() {
        let loss = |x: &[f64]| reference(x, N, D, &config);
        assert_consistent(loss, &wide(&vectors()), 10.0);
    }
}

#[test]
fn values_and_gradients_equal_the_reference() {
    for config in configs() {
        for dtype in float_types(&Device::default()) {
            let vectors = rounded(&vectors(), dtype);
            let (value, gradient) = evaluate(&vectors, [2 * N, D], dtype, |x| loss(&config, x));
            let vectors = wide(&vectors);
            let expected = reference(&vectors, N, D, &config);
            let (bound, slope) = bounds(&vectors, N, D, &config);
            let what = format!("{config:?} {dtype:?}");
            assert_near(value, expected.0, bound, &what);
            assert_gradient(&gradient, &expected.1, dtype, |_| slope, &what);
        }
    }
}

#[test]
fn extreme_temperatures_stay_finite_and_right() {
    // Similarities of up to 10 000 and a loss of thousands; and a softmax that is uniform.
    for temperature in [1e-4, 1e4] {
        let config = InfoNceLoss::new()
            .with_temperature(temperature)
            .with_symmetric(true);
        let (value, gradient) = evaluate(&vectors(), [2 * N, D], DType::F32, |x| loss(&config, x));
        let vectors = wide(&vectors());
        let expected = reference(&vectors, N, D, &config);
        let (bound, _) = bounds(&vectors, N, D, &config);
        assert_near(value, expected.0, bound, &format!("{temperature}"));
        assert!(gradient.iter().all(|g| g.is_finite()));
    }
    let uniform = InfoNceLoss::new().with_temperature(1e4);
    let (value, _) = reference(&wide(&vectors()), N, D, &uniform);
    assert_near(value, (N as f64).ln(), 2e-4, "loss of a uniform choice");
}

#[test]
fn a_vector_of_zeros_has_similarity_zero_and_finite_gradients() {
    let mut vectors = vectors();
    vectors[..D].fill(0.0);
    let config = InfoNceLoss::new().with_temperature(1.0);
    let (value, gradient) = evaluate(&vectors, [2 * N, D], DType::F32, |x| loss(&config, x));
    assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");

    // The others have length 1, it has length 0.
    let unit: Vec<f64> = wide(&vectors)
        .chunks(D)
        .flat_map(|x| {
            let norm = dot(x, x).sqrt().max(1e-12);
            x.iter().map(move |v| v / norm)
        })
        .collect();
    let as_they_are = config.clone().with_normalize(false);
    let expected = reference(&unit, N, D, &as_they_are).0;
    let (bound, _) = bounds(&unit, N, D, &as_they_are);
    assert_near(value, expected, bound, "loss");
}

#[test]
fn a_batch_of_one_or_none_has_loss_zero() {
    let device = Device::default();
    for batch in [0, 1] {
        let vectors = Tensor::<2>::ones([batch, 3], &device);
        for symmetric in [false, true] {
            let loss = InfoNceLoss::new().with_symmetric(symmetric);
            let value = loss.forward(vectors.clone(), vectors.clone());
            assert_eq!(value.into_scalar::<f32>(), 0.0, "{batch}");
        }
    }
}

#[test]
#[should_panic(expected = "expected 3, got 4")]
fn keys_of_another_shape_are_refused() {
    let device = Device::default();
    let queries = Tensor::<2>::zeros([2, 3], &device);
    let keys = Tensor::<2>::zeros([2, 4], &device);
    InfoNceLoss::new().forward(queries, keys);
}

#[test]
#[should_panic(expected = "temperature must be positive and finite, got 0")]
fn a_temperature_of_zero_is_refused() {
    let _ = InfoNceLoss::new().with_temperature(0.0);
}
