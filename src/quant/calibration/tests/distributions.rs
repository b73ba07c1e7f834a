//! Streams of values for the tests of the observers.

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

/// Returns values of all kinds that an observer must handle, by name.
pub fn distributions(n: usize, seed: u64) -> Vec<(&'static str, Vec<f32>)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut draw = |one: fn(&mut StdRng) -> f64| -> Vec<f32> {
        (0..n).map(|_| one(&mut rng) as f32).collect()
    };
    vec![
        ("normal", draw(normal)),
        ("uniform", draw(|rng| rng.random_range(-1.0..3.0))),
        ("one-sided", draw(|rng| normal(rng).max(0.0))),
        // Student's t with 2 degrees of freedom: its variance is infinite.
        (
            "heavy-tailed",
            draw(|rng| normal(rng) / (-rng.random::<f64>().max(1e-9).ln()).sqrt()),
        ),
        ("constant", vec![0.7; n]),
        ("negative constant", vec![-3.0; n]),
        ("zero", vec![0.0; n]),
        ("huge", draw(|rng| rng.random_range(-3.4e38..3.4e38))),
        ("tiny", draw(|rng| rng.random_range(-1e-40..1e-39))),
    ]
}

/// Returns the values in another order.
pub fn shuffled(values: &[f32], seed: u64) -> Vec<f32> {
    let mut values = values.to_vec();
    values.shuffle(&mut StdRng::seed_from_u64(seed));
    values
}

/// Draws a standard normal value (Box-Muller).
fn normal(rng: &mut StdRng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (core::f64::consts::TAU * rng.random::<f64>()).cos()
}
