//! Quantizers: the scale of a group from its values, and the level of a value.

use bitnet_burn_kernels::reference::{at_least_epsilon, mean_prescale};

use super::slices::{LANES, clamp, prefetch, round};

/// Number of values summed in `f32` before the sum continues in `f64`: small enough that the rounding of a
/// partial sum stays below that of the final `f32` mean.
const SUM_CHUNK: usize = 256;

/// A quantizer whose scale is computed from a statistic of the values.
pub(super) trait Quantizer: Copy + Send + Sync {
    /// Partial result of the statistic; the default is that of no values.
    type Partial: Copy + Default + Send;

    /// Returns the partial result of contiguous values of a group of `size`.
    fn partial(values: &[f32], size: usize) -> Self::Partial;

    /// Returns the partial result with one more value.
    fn with_value(partial: Self::Partial, value: f32) -> Self::Partial;

    /// Merges two partial results.
    fn merge(a: Self::Partial, b: Self::Partial) -> Self::Partial;

    /// Returns the statistic of a group of `size`.
    fn statistic(partial: Self::Partial, size: usize) -> f32;

    /// Returns the scale for a statistic.
    fn scale(self, statistic: f32) -> f32;

    /// Returns the nearest level of a value, given the scale and its inverse.
    fn level(self, value: f32, scale: f32, inverse: f32) -> f32;
}

/// Quantizer with `gamma = max(mean|W|, EPSILON)` and the levels -`gamma`, 0 and `gamma`.
#[derive(Clone, Copy)]
pub(super) struct Ternary;

impl Quantizer for Ternary {
    type Partial = f64;

    #[inline(always)]
    fn partial(values: &[f32], size: usize) -> f64 {
        // A power of two, so that dividing by it later is exact.
        let prescale = mean_prescale(size);
        let magnitude = |v: &f32| v.abs() * prescale;
        // Several accumulators, so that an addition does not wait for the previous one.
        let mut totals = [0.0f64; LANES];
        for chunk in values.chunks(SUM_CHUNK) {
            let mut sums = [[0.0f32; LANES]; 4];
            let (vectors, rest) = chunk.as_chunks::<{ 4 * LANES }>();
            for vector in vectors {
                prefetch(vector);
                for (sum, v) in sums.as_flattened_mut().iter_mut().zip(vector) {
                    *sum += magnitude(v);
                }
            }
            for (sum, v) in sums.as_flattened_mut().iter_mut().zip(rest) {
                *sum += magnitude(v);
            }
            let [a, b, c, d] = sums;
            for (i, total) in totals.iter_mut().enumerate() {
                *total += ((a[i] + b[i]) + (c[i] + d[i])) as f64;
            }
        }
        let total: f64 = totals.iter().sum();
        total / prescale as f64
    }

    #[inline(always)]
    fn with_value(sum: f64, value: f32) -> f64 {
        sum + value.abs() as f64
    }

    #[inline(always)]
    fn merge(a: f64, b: f64) -> f64 {
        a + b
    }

    #[inline(always)]
    fn statistic(sum: f64, size: usize) -> f32 {
        at_least_epsilon((sum / size as f64) as f32)
    }

    #[inline(always)]
    fn scale(self, absmean: f32) -> f32 {
        absmean
    }

    #[inline(always)]
    fn level(self, value: f32, scale: f32, inverse: f32) -> f32 {
        let scaled = value * inverse;
        let code = match (scaled > 0.5, scaled < -0.5) {
            (true, _) => 1.0,
            (_, true) => -1.0,
            _ => 0.0,
        };
        // Also for the code zero: the scale may be NaN.
        code * scale
    }
}

/// Returns `clamp(round(value), -1, 1)` for a value already divided by its scale, ties to even.
#[inline(always)]
pub(super) fn ternary_code(scaled: f32) -> i32 {
    i32::from(scaled > 0.5) - i32::from(scaled < -0.5)
}

/// Quantizer with `s = max_code / max(max|x|, EPSILON)` and the levels `code / s`.
#[derive(Clone, Copy)]
pub(super) struct Absmax {
    pub max_code: f32,
}

impl Quantizer for Absmax {
    /// The bits of the largest magnitude.
    type Partial = i32;

    #[inline(always)]
    fn partial(values: &[f32], _size: usize) -> i32 {
        max_magnitude(values).to_bits() as i32
    }

    #[inline(always)]
    fn with_value(largest: i32, value: f32) -> i32 {
        largest.max(value.abs().to_bits() as i32)
    }

    #[inline(always)]
    fn merge(a: i32, b: i32) -> i32 {
        a.max(b)
    }

    #[inline(always)]
    fn statistic(largest: i32, _size: usize) -> f32 {
        at_least_epsilon(f32::from_bits(largest as u32))
    }

    #[inline(always)]
    fn scale(self, absmax: f32) -> f32 {
        self.max_code / absmax
    }

    /// Returns `clamp(round(v * s), min, max) / s`. The clamp comes first, so that the sum in [`round`] stays
    /// exact; the result is the same, since the bounds are integers. (A SIMD division takes less time than
    /// the conversions to `f64` and back around a product with an inverse.)
    #[inline(always)]
    fn level(self, value: f32, scale: f32, _inverse: f32) -> f32 {
        let code = round(clamp(value * scale, -self.max_code - 1.0, self.max_code));
        code / scale
    }
}

/// Returns `a / b` given `1 / b`, in a third of a division's time, with the same result. The product is
/// off by less than 2^-52 of itself, and no quotient of two numbers of 24 bits is so close to the middle
/// of two neighbors: `|a / b - m| = |a - b m| / b >= 2^-49 |a / b|` for `m` of 25 bits. (Except for
/// quotients below the smallest normal number.)
#[inline(always)]
pub(super) fn divide(a: f32, inverse_b: f64) -> f32 {
    (a as f64 * inverse_b) as f32
}

/// Returns `max |v|`, NaN if there is one: see [`reference::absmax`](bitnet_burn_kernels::reference::absmax).
#[inline(always)]
pub(super) fn max_magnitude(values: &[f32]) -> f32 {
    // As signed integers, which SSE2 compares; the sign bit is cleared.
    let magnitude = |v: f32| v.abs().to_bits() as i32;
    let mut lanes = [0i32; 4 * LANES];
    let (vectors, rest) = values.as_chunks::<{ 4 * LANES }>();
    for vector in vectors {
        prefetch(vector);
        for (largest, &v) in lanes.iter_mut().zip(vector) {
            *largest = (*largest).max(magnitude(v));
        }
    }
    for (largest, &v) in lanes.iter_mut().zip(rest) {
        *largest = (*largest).max(magnitude(v));
    }
    let largest = lanes.into_iter().max().unwrap_or(0);
    f32::from_bits(largest as u32)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn a_product_with_the_inverse_is_the_quotient() {
        let mut rng = StdRng::seed_from_u64(3);
        let quotients = |a: f32, b: f32| [divide(a, 1.0 / b as f64), a / b].map(f32::to_bits);
        for _ in 0..1 << 21 {
            // Any mantissa, with a normal quotient.
            let [a, b] =
                [(); 2].map(|()| f32::from_bits(rng.random_range(0x2000_0000..0x5f00_0000)));
            let code = rng.random_range(-32768..32768) as f32;
            for a in [a, code] {
                let [product, quotient] = quotients(a, b);
                assert_eq!(product, quotient, "{a} / {b}");
            }
        }
        for (a, b) in [
            (0.0, 0.0),
            (1.0, 0.0),
            (f32::MAX, 1e-9),
            (f32::INFINITY, 2.0),
            (1.0, f32::NAN),
        ] {
            let [product, quotient] = quotients(a, b).map(f32::from_bits);
            assert!(
                product == quotient || product.is_nan() && quotient.is_nan(),
                "{a} / {b}"
            );
        }
    }
}
