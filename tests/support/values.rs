//! Test values and tables, and comparisons that report the position.

use bitnet_burn::functions::Groups;
use burn::{
    module::{ModuleMapper, Param},
    optim::{RecordState, StateSink, StateSource},
    tensor::{DType, Device, Element, Int, Tensor, TensorData},
};
use half::{bf16, f16};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Half a unit in the last place, relative to the value: the error of one rounding in `f32`.
pub const ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;

/// Returns normally distributed values with the standard deviation of a trained weight, 0.1.
pub fn normal(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..n)
        .map(|_| {
            // Box-Muller transform.
            let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
            let angle = core::f64::consts::TAU * rng.random::<f64>();
            (0.1 * radius * angle.cos()) as f32
        })
        .collect()
}

/// Sets every parameter to normally distributed values that depend only on the order of the parameters.
/// Burn's own random numbers depend on other tests that run at the same time.
pub struct Drawn {
    seed: u64,
    deviation: f32,
}

impl Drawn {
    pub fn new(seed: u64, deviation: f32) -> Self {
        Self { seed, deviation }
    }
}

impl ModuleMapper for Drawn {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.seed += 1;
        param.map(|value| {
            let values = normal(value.shape().num_elements(), self.seed);
            let scale = self.deviation / 0.1;
            let values: Vec<_> = values.into_iter().map(|v| scale * v).collect();
            let drawn = tensor(&values, value.dims(), DType::F32, &value.device());
            drawn.set_require_grad(value.is_require_grad())
        })
    }
}

/// Returns values of [`normal`], rounded to multiples of `2^-11`: the sum of fewer than about 200 000 of
/// them is exact in `f32` in any summation order, so that scales can be compared with zero tolerance.
/// Exact in `f16`, too.
pub fn exactly_summable(n: usize, seed: u64) -> Vec<f32> {
    let round = |v: f32| (v * 2048.0).round() / 2048.0;
    normal(n, seed).into_iter().map(round).collect()
}

/// Creates a tensor of type `dtype` from `f32` values, which are rounded on the host.
pub fn tensor<const D: usize>(
    values: &[f32],
    shape: [usize; D],
    dtype: DType,
    device: &Device,
) -> Tensor<D> {
    let data = TensorData::new(values.to_vec(), shape).convert_dtype(dtype);
    Tensor::from_data(data, (device, dtype))
}

/// Returns `f32` values rounded to `dtype`.
pub fn rounded(values: &[f32], dtype: DType) -> Vec<f32> {
    let round = |v: f32| match dtype {
        DType::F32 => v,
        DType::F16 => f16::from_f32(v).to_f32(),
        DType::BF16 => bf16::from_f32(v).to_f32(),
        _ => unreachable!("no float type of the tests: {dtype:?}"),
    };
    values.iter().map(|&v| round(v)).collect()
}

/// Returns the values of a float tensor, row-major.
pub fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Returns the values of an integer tensor, row-major.
pub fn ints<const D: usize, E: Element>(tensor: Tensor<D, Int>) -> Vec<E> {
    tensor.into_data().iter::<E>().collect()
}

/// Returns the float types that the device supports.
pub fn float_types(device: &Device) -> Vec<DType> {
    [DType::F32, DType::F16, DType::BF16]
        .into_iter()
        .filter(|&dtype| computes_in(device, dtype))
        .collect()
}

/// Returns whether the device supports a float type.
///
/// CubeCL's CPU runtime claims to support bf16. Without AVX512-BF16, LLVM rounds to it by calling
/// `__truncsfbf2`, which libgcc has from version 13 on; with an older one, every kernel that
/// writes bf16 fails to link.
pub fn computes_in(device: &Device, dtype: DType) -> bool {
    let by_call = on_cubecl_cpu() && dtype == DType::BF16 && !rounds_to_bf16();
    device.supports_dtype(dtype) && !by_call
}

#[cfg(target_arch = "x86_64")]
fn rounds_to_bf16() -> bool {
    std::arch::is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn rounds_to_bf16() -> bool {
    true
}

/// Converts an optimizer state into a record and back.
pub fn reloaded<S: RecordState>(state: &S) -> S {
    let mut sink = StateSink::default();
    state.state_flatten("p", &mut sink);
    let mut source = StateSource::new(sink.scalars.into_iter().collect());
    for (name, data) in sink.tensors {
        source.insert_tensor(name, data);
    }
    S::state_unflatten("p", &mut source, &Device::default()).expect("what was written is a state")
}

/// Returns whether tests run on Flex, the fastest backend here.
pub fn on_flex() -> bool {
    format!("{:?}", Device::default()).contains("Flex")
}

/// Returns whether tests run on a backend of plain Rust code, with the float functions of the system.
pub fn on_cpu_library() -> bool {
    on_flex() || format!("{:?}", Device::default()).contains("NdArray")
}

/// Returns whether tests run on CubeCL's CPU runtime, which takes half a second to compile a matrix product
/// for a shape, and an eighth to run the smallest.
pub fn on_cubecl_cpu() -> bool {
    format!("{:?}", Device::default()).contains("Cube(Cpu")
}

/// Steps of training after which a weight counts as trained: each step changes every weight.
pub fn training_steps() -> usize {
    if on_cubecl_cpu() { 1 } else { 30 }
}

/// Returns all granularities with which the operations group a tensor of this shape.
pub fn groupings(shape: &[usize]) -> Vec<Groups> {
    let mut groupings = vec![
        Groups::per_tensor(shape.iter().product()),
        Groups::per_row(shape),
    ];
    for axis in 0..shape.len() {
        let length = shape[axis];
        for size in [length, length / 2, length / 3] {
            if size > 0 && length.is_multiple_of(size) {
                groupings.push(Groups::along_axis(shape, axis, size));
            }
        }
    }
    groupings.sort_by_key(|groups| (groups.outer, groups.size, groups.inner));
    groupings.dedup();
    groupings
}

/// Calls a function generic over the rank with each shape of the table: ranks 1 to 4; rows with
/// and without a remainder in vectors of 4, packed bytes of 4 and packed words of 16.
macro_rules! for_each_shape {
    ($check:ident) => {
        $check([1]);
        $check([3]);
        $check([33]);
        $check([1, 1]);
        $check([5, 7]);
        $check([1, 33]);
        $check([64, 96]);
        $check([2, 3, 4]);
        $check([3, 1, 16]);
        $check([8, 3, 3, 3]);
    };
}
pub(crate) use for_each_shape;

/// Asserts that all pairs of values are equal (the two zeros are).
#[track_caller]
pub fn assert_equal<T: PartialEq + core::fmt::Debug>(actual: &[T], expected: &[T], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: number of values");
    let differ: Vec<usize> = (0..actual.len())
        .filter(|&i| actual[i] != expected[i])
        .collect();
    if let Some(&first) = differ.first() {
        panic!(
            "{what}: {} of {} values differ, the first at {first}: got {:?}, expected {:?}",
            differ.len(),
            actual.len(),
            actual[first],
            expected[first]
        );
    }
}

/// Asserts that every value is within `bound(i)`; returns the largest error as a part of its bound.
#[track_caller]
pub fn assert_within(
    actual: &[f32],
    expected: &[f32],
    bound: impl Fn(usize) -> f64,
    what: &str,
) -> f64 {
    assert_eq!(actual.len(), expected.len(), "{what}: number of values");
    let mut worst = 0.0f64;
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        let (error, bound) = ((a as f64 - e as f64).abs(), bound(i));
        assert!(
            error <= bound,
            "{what}: value {i} is {a}, expected {e}: error {error:e}, bound {bound:e}"
        );
        if error > 0.0 {
            worst = worst.max(error / bound);
        }
    }
    worst
}

/// Returns the largest absolute difference.
pub fn largest_error(actual: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(actual.len(), expected.len());
    let error = |(a, e): (&f32, &f32)| (a - e).abs();
    actual.iter().zip(expected).map(error).fold(0.0, f32::max)
}
