use half::bf16;

/// Returns the random bits of value `index` of a tensor, the same on every device.
///
/// Applies a 32-bit integer hash of low bias, [`lowbias32`](https://nullprogram.com/blog/2018/07/31/), to
/// a Weyl sequence.
pub fn random_bits(seed: u32, index: u32) -> u32 {
    let mut x = index.wrapping_mul(0x9e37_79b9).wrapping_add(seed);
    x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// Returns the `bf16` above or below a value, each with the probability of its nearness: sixteen random
/// bits are added to the truncated ones. Non-finite values stay.
pub fn stochastic_round_bf16(value: f32, random: u32) -> bf16 {
    if !value.is_finite() {
        return bf16::from_f32(value);
    }
    bf16::from_bits(((value.to_bits() + (random & 0xffff)) >> 16) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_many_roundings_is_the_value() {
        // Values between 1 and 1 + 2^-7, and of other magnitudes and signs.
        for value in [1.003f32, -0.017, 3.3e-5, 1234.56, -2e-38] {
            let n = 1 << 16;
            let rounded = (0..n).map(|i| stochastic_round_bf16(value, random_bits(7, i)).to_f64());
            let mean = rounded.sum::<f64>() / n as f64;
            // A step is at most 2^-7 of the value; its standard deviation is at most half of that.
            let deviation = value.abs() as f64 * 2f64.powi(-8) / (n as f64).sqrt();
            let error = (mean - value as f64).abs();
            assert!(error < 4.0 * deviation, "{value}: {mean}");
        }
    }

    #[test]
    fn what_bf16_has_stays() {
        for value in [0.0f32, -0.0, 1.0, -2.5, f32::INFINITY, f32::NEG_INFINITY] {
            for random in [0, 0xffff, u32::MAX] {
                let rounded = stochastic_round_bf16(value, random).to_f32();
                assert_eq!(rounded.to_bits(), value.to_bits());
            }
        }
        assert!(stochastic_round_bf16(f32::NAN, 0xffff).is_nan());
    }
}
