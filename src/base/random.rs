//! Random numbers as functions of a counter, so that a resumed run draws the same numbers.

/// Returns a pseudorandom number for each counter (SplitMix64).
///
/// Source: [Fast Splittable Pseudorandom Number Generators](https://doi.org/10.1145/2660193.2660195).
pub(crate) fn mix(counter: u64) -> u64 {
    let z = counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Returns the upper 24 bits as a number in [0, 1), exact in `f32`.
pub(crate) fn unit(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1u64 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_those_of_the_published_generator() {
        // SplitMix64 with seed 0, as in Java's SplittableRandom and Vigna's splitmix64.c.
        let expected = [
            0xe220_a839_7b1d_cdaf,
            0x6e78_9e6a_a1b9_65f4,
            0x06c4_5d18_8009_454f,
        ];
        assert_eq!([0, 1, 2].map(mix), expected);
    }

    #[test]
    fn random_numbers_fill_the_unit_interval_evenly() {
        // The mean of n has the standard deviation 1 / sqrt(12 n); the tolerance is four of them.
        let n = 1 << 16;
        let values: Vec<f64> = (0..n).map(|i| unit(mix(7 + i)) as f64).collect();
        let mean = values.iter().sum::<f64>() / n as f64;
        assert!(
            (mean - 0.5).abs() < 4.0 / (12.0 * n as f64).sqrt(),
            "{mean}"
        );
        assert!(values.iter().all(|v| (0.0..1.0).contains(v)));
    }
}
