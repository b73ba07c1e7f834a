//! Quantization error of the values of a layer, measured in a forward pass.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use burn::tensor::{DType, Int, Tensor};

use crate::{
    ops::{Groups, QuantRange},
    quant::{QuantizedWeight, reshape},
};

/// Bins of a histogram of latent weights, on either side of the one around zero.
const BINS: i32 = 16;
/// Bins up to the largest code.
pub(super) const BINS_PER_RANGE: i32 = 8;

/// Maximum number of codes that are counted on the device, one reduction each; else the codes are read back.
const COUNTED_ON_DEVICE: usize = 16;

/// Measures one forward pass on request.
#[derive(Debug, Default)]
pub(super) struct ErrorProbe {
    /// Checked first, so that a forward pass without a request takes no lock.
    requested: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    measurement: Option<Measurement>,
    /// Codes at the last measurement.
    codes: Option<Tensor<1, Int>>,
}

/// A measurement, still on the device.
#[derive(Debug)]
pub(super) struct Measurement {
    /// The result of [`sums`].
    pub sums: Tensor<1>,
    /// Codes of a weight, and the number that changed since the last measurement.
    pub codes: Option<CodeCounts>,
    /// Number of values.
    pub count: usize,
}

/// Number of weights with each code.
#[derive(Debug)]
pub(super) struct CodeCounts {
    pub range: QuantRange,
    /// Number of latent weights in each bin.
    pub latent: Tensor<1, Int>,
    pub counts: Counts,
    pub flips: Option<Tensor<1, Int>>,
}

#[derive(Debug)]
pub(super) enum Counts {
    /// One number for each code of the range.
    Counted(Tensor<1, Int>),
    /// The codes themselves.
    Codes(Tensor<1, Int>),
}

impl ErrorProbe {
    /// Requests a measurement of the next forward pass.
    pub fn request(&self) {
        self.requested.store(true, Ordering::Release);
    }

    /// Returns whether to measure this pass; only one is measured per request.
    pub fn starts(&self) -> bool {
        self.requested.load(Ordering::Acquire) && self.requested.swap(false, Ordering::AcqRel)
    }

    /// Measures a weight.
    pub fn measure_weight<const D: usize>(
        &self,
        latent: Tensor<D>,
        quantized: QuantizedWeight<D>,
        groups: Groups,
    ) {
        let latent = latent.without_autodiff();
        let values = quantized.values.without_autodiff();
        let scales = quantized.scales.without_autodiff();
        let range = quantized.levels.codes;
        let codes = integer(in_scales(values.clone(), scales.clone(), groups));
        let bins = in_scales(latent.clone(), scales.clone(), groups)
            .mul_scalar(BINS_PER_RANGE as f32 / range.max)
            .clamp(-BINS as f32, BINS as f32);
        let none = Tensor::zeros([1], &latent.device());
        let sums = sums(latent, values, none, scales);
        let mut state = self.lock();
        let previous = state.codes.replace(codes.clone());
        // With another shape or device it is another parameter.
        let same = |previous: &Tensor<1, Int>| {
            previous.dims() == codes.dims() && previous.device() == codes.device()
        };
        let flips = previous
            .filter(same)
            .map(|previous| codes.clone().not_equal(previous).int().sum());
        state.measurement = Some(Measurement {
            sums,
            count: codes.dims()[0],
            codes: Some(CodeCounts {
                range,
                latent: count_each(integer(bins), -BINS, BINS),
                counts: count(codes, range),
                flips,
            }),
        });
    }

    /// Measures activations, with the limits beyond which a fixed range clips them.
    pub fn measure_activation<const D: usize>(
        &self,
        x: Tensor<D>,
        quantized: Tensor<D>,
        limits: Option<[Tensor<1>; 2]>,
    ) {
        let (x, quantized) = (x.without_autodiff(), quantized.without_autodiff());
        let clipped = match limits {
            None => Tensor::zeros([1], &x.device()),
            Some([low, high]) => {
                let flat = flat(x.clone());
                let count = flat.dims()[0];
                let below = flat.clone().lower(low.without_autodiff().expand([count]));
                let above = flat.greater(high.without_autodiff().expand([count]));
                below.bool_or(above).int().sum().float().cast(DType::F32)
            }
        };
        let count = x.shape().num_elements();
        let scales = Tensor::zeros([1, 1], &x.device());
        let sums = sums(x, quantized, clipped, scales);
        self.lock().measurement = Some(Measurement {
            sums,
            codes: None,
            count,
        });
    }

    /// Returns the measurement since the last call.
    pub fn take(&self) -> Option<Measurement> {
        self.lock().measurement.take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let count = tensor.shape().num_elements();
    tensor.cast(DType::F32).reshape([count])
}

/// Number of sums of a measurement.
pub(super) const SUMS: usize = 10;

/// Returns all sums in one tensor, so that they are read back at once: the sum of squares of the values, of
/// their quantized values, of the products of both and of the squares of their differences; the largest
/// difference; the numbers of quantized values that are 0 and of values outside the levels; mean, smallest
/// and largest scale.
fn sums<const D: usize>(
    values: Tensor<D>,
    quantized: Tensor<D>,
    clipped: Tensor<1>,
    scales: Tensor<2>,
) -> Tensor<1> {
    let (values, quantized) = (flat(values), flat(quantized));
    let difference = values.clone() - quantized.clone();
    let zeros = quantized.clone().equal_elem(0.0).int().sum().float();
    Tensor::cat(
        vec![
            values.clone().square().sum(),
            quantized.clone().square().sum(),
            (values * quantized).sum(),
            difference.clone().square().sum(),
            difference.abs().max(),
            zeros.cast(DType::F32),
            clipped,
            scales.clone().mean(),
            scales.clone().min(),
            scales.max(),
        ],
        0,
    )
}

/// Returns values divided by the scale of their group.
fn in_scales<const D: usize>(values: Tensor<D>, scales: Tensor<2>, groups: Groups) -> Tensor<1> {
    let Groups { outer, size, inner } = groups;
    let values = reshape(values.cast(DType::F32), [outer, size, inner]);
    let scales = scales
        .reshape([outer, 1, inner])
        .expand([outer, size, inner]);
    (values / scales).reshape([outer * size * inner])
}

/// Returns the nearest 8-bit integers, in the smallest type of the device; 0 for a NaN, which has no
/// integer.
fn integer(values: Tensor<1>) -> Tensor<1, Int> {
    let small = values.device().supports_dtype(DType::I8);
    let nan = values.clone().is_nan();
    let integers = values
        .round()
        .clamp(-128.0, 127.0)
        .mask_fill(nan, 0.0)
        .int();
    match small {
        true => integers.cast(DType::I8),
        false => integers,
    }
}

fn count(codes: Tensor<1, Int>, range: QuantRange) -> Counts {
    let levels = (range.max - range.min) as usize + 1;
    if levels > COUNTED_ON_DEVICE {
        return Counts::Codes(codes);
    }
    Counts::Counted(count_each(codes, range.min as i32, range.max as i32))
}

/// Returns the number of occurrences of each number from `first` to `last`.
fn count_each(numbers: Tensor<1, Int>, first: i32, last: i32) -> Tensor<1, Int> {
    let count = |number| numbers.clone().equal_elem(number).int().sum();
    Tensor::cat((first..=last).map(count).collect(), 0)
}
