//! Alternating measurement of functions.

use std::{hint::black_box, time::Instant};

use burn::tensor::Device;

/// Minimum seconds per sample: the cost of a clock read is negligible, and few samples suffice.
const SAMPLE: f64 = 0.01;

/// Function to time, including the drop of its result.
pub type Timed<'a> = Box<dyn FnMut() + 'a>;

/// Creates a function that waits for the device at its end.
pub fn timed<'a, R: 'a>(mut f: impl FnMut() -> R + 'a) -> Timed<'a> {
    let device = Device::default();
    Box::new(move || {
        let result = f();
        device.sync().expect("the device works");
        drop(black_box(result));
    })
}

/// Returns the median time of each function in milliseconds, sampled in turn.
pub fn medians<const N: usize>(mut functions: [Timed<'_>; N], quick: bool) -> [f64; N] {
    let rounds = if quick { 2 } else { 15 };
    let calls = functions.each_mut().map(|f| {
        f();
        let calls = (SAMPLE / seconds(f, 1)).ceil();
        calls.clamp(1.0, 1e4) as usize
    });
    let mut samples = [(); N].map(|()| Vec::new());
    for _ in 0..rounds {
        for (i, f) in functions.iter_mut().enumerate() {
            samples[i].push(1e3 * seconds(f, calls[i]));
        }
    }
    samples.map(median)
}

fn seconds(f: &mut Timed<'_>, calls: usize) -> f64 {
    let start = Instant::now();
    (0..calls).for_each(|_| f());
    start.elapsed().as_secs_f64() / calls as f64
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
