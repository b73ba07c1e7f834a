//! Helpers of the tests of transformer operations: sums in `f64` with error bounds, other memory layouts
//! of heads, numbers of threads.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{DType, Device, Tensor};

use super::values::*;

/// Error of some roundings to a type, each relative to `magnitude` or, near zero, to the smallest number of
/// the type.
pub fn roundings(dtype: DType, operations: f64, magnitude: f64) -> f64 {
    let (unit, smallest) = match dtype {
        DType::F32 => (ROUNDING, f32::MIN_POSITIVE.into()),
        DType::F16 => (1.0 / 2048.0, 1.0 / (1 << 24) as f64),
        _ => (1.0 / 256.0, f32::MIN_POSITIVE.into()),
    };
    operations * (unit * magnitude + smallest)
}

/// Expected value in `f64`, and the sum of the magnitudes of its terms.
#[derive(Clone, Copy, Default)]
pub struct Sum {
    pub value: f64,
    pub magnitude: f64,
}

impl Sum {
    pub fn add(&mut self, value: f64, magnitude: f64) {
        self.value += value;
        self.magnitude += magnitude;
    }
}

/// Asserts that all values equal the sums within this number of roundings.
#[track_caller]
pub fn assert_sums(actual: &[f32], sums: &[Sum], dtype: DType, operations: f64, what: &str) {
    let expected: Vec<f32> = sums.iter().map(|sum| sum.value as f32).collect();
    // One more for the expected value itself.
    let bound = |i: usize| roundings(dtype, operations + 1.0, sums[i].magnitude);
    assert_within(actual, &expected, bound, what);
}

/// Runs `f` in one thread, and asserts the same bits in several threads.
#[track_caller]
pub fn assert_same_in_all_threads(f: impl Fn() -> Vec<Vec<f32>> + Sync) {
    if !on_flex() {
        return;
    }
    let bits = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let values = pool.build().unwrap().install(&f);
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        values.into_iter().map(bits).collect::<Vec<_>>()
    };
    let expected = bits(1);
    for threads in [2, 3, 7] {
        for (i, (bits, expected)) in bits(threads).iter().zip(&expected).enumerate() {
            assert_equal(bits, expected, &format!("{threads} threads, tensor {i}"));
        }
    }
}

/// Asserts that the operation, called with a device for tensors of `f64`, panics and names them.
#[track_caller]
pub fn assert_refuses_f64(operation: &str, f: impl FnOnce((&Device, DType))) {
    let device = Device::default();
    if !device.supports_dtype(DType::F64) {
        return;
    }
    let panic = catch_unwind(AssertUnwindSafe(|| f((&device, DType::F64)))).unwrap_err();
    let expected = format!("{operation} takes f32, f16 or bf16 values, got F64");
    assert_eq!(*panic.downcast::<String>().unwrap(), expected);
}

/// Returns the same values, with the heads of a position adjacent in memory.
pub fn by_position(x: Tensor<4>) -> Tensor<4> {
    let options = (&x.device(), x.dtype());
    Tensor::<4>::from_data(x.swap_dims(1, 2).into_data(), options).swap_dims(1, 2)
}

/// Returns the same values as a slice of a larger tensor, or in another memory order.
pub fn views(x: Tensor<4>) -> Vec<(&'static str, Tensor<4>)> {
    let [batch, heads, positions, d_head] = x.dims();
    let options = (&x.device(), x.dtype());
    let transposed = x.clone().swap_dims(2, 3).into_data();
    let larger = by_position(x.clone().repeat_dim(0, 2));
    vec![
        ("by position", by_position(x.clone())),
        ("batch of a larger", larger.narrow(0, batch, batch)),
        ("heads", x.clone().repeat_dim(1, 2).narrow(1, heads, heads)),
        (
            "positions",
            x.clone().repeat_dim(2, 3).narrow(2, positions, positions),
        ),
        (
            "columns",
            x.clone().repeat_dim(3, 2).narrow(3, d_head, d_head),
        ),
        (
            "transposed",
            Tensor::<4>::from_data(transposed, options).swap_dims(2, 3),
        ),
    ]
}
