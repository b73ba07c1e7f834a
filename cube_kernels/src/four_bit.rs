/// Codes of 4 bits for values in -1..=1, those of bitsandbytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FourBitType {
    /// Quantiles of the normal distribution, with 0 among them: each code is equally frequent in normally
    /// distributed weights.
    ///
    /// Source: [QLoRA](https://arxiv.org/abs/2305.14314), appendix E.
    Nf4,
    /// Floats of a sign, two bits of exponent and one of mantissa, divided by the largest.
    Fp4,
}

/// Number of codes.
const CODES: usize = 16;

/// Lower bound of the divisor of a block, that of bitsandbytes.
pub const MIN_ABSMAX: f32 = 1e-38;

const NF4: [f32; CODES] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// Codes of ascending values.
const NF4_ASCENDING: [u8; CODES] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

const FP4: [f32; CODES] = [
    0.0,
    0.0625 / 12.0,
    8.0 / 12.0,
    1.0,
    4.0 / 12.0,
    6.0 / 12.0,
    2.0 / 12.0,
    3.0 / 12.0,
    // Not -0.0: bitsandbytes writes an integer.
    0.0,
    -0.0625 / 12.0,
    -8.0 / 12.0,
    -1.0,
    -4.0 / 12.0,
    -6.0 / 12.0,
    -2.0 / 12.0,
    -3.0 / 12.0,
];

/// Codes of ascending values; 0 is before 8, which has the same value.
const FP4_ASCENDING: [u8; CODES] = [11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3];

const NF4_THRESHOLDS: [f32; CODES - 1] = midpoints(&NF4, &NF4_ASCENDING);
const FP4_THRESHOLDS: [f32; CODES - 1] = midpoints(&FP4, &FP4_ASCENDING);

/// Returns the middles of neighboring values.
const fn midpoints(values: &[f32; CODES], ascending: &[u8; CODES]) -> [f32; CODES - 1] {
    let mut middles = [0.0; CODES - 1];
    let mut i = 0;
    while i < CODES - 1 {
        let (low, high) = (ascending[i] as usize, ascending[i + 1] as usize);
        middles[i] = (values[low] + values[high]) / 2.0;
        i += 1;
    }
    middles
}

impl FourBitType {
    /// Returns the name in files, that of bitsandbytes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nf4 => "nf4",
            Self::Fp4 => "fp4",
        }
    }

    /// Returns the codes of a name in files.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Nf4, Self::Fp4]
            .into_iter()
            .find(|quant_type| quant_type.name() == name)
    }

    /// Returns the value of each code.
    pub const fn values(self) -> &'static [f32; 16] {
        match self {
            Self::Nf4 => &NF4,
            Self::Fp4 => &FP4,
        }
    }

    /// Returns the codes in the order of their values.
    pub const fn ascending(self) -> &'static [u8; 16] {
        match self {
            Self::Nf4 => &NF4_ASCENDING,
            Self::Fp4 => &FP4_ASCENDING,
        }
    }

    /// Returns the middles between neighboring values, ascending.
    pub const fn thresholds(self) -> &'static [f32; 15] {
        match self {
            Self::Nf4 => &NF4_THRESHOLDS,
            Self::Fp4 => &FP4_THRESHOLDS,
        }
    }

    /// Returns the code of the nearest value, the lower one of two equally near; that of 1 for NaN.
    pub fn code(self, x: f32) -> u8 {
        // A NaN is not below any threshold.
        let not_below = self.thresholds().iter().filter(|&&t| x <= t).count();
        self.ascending()[CODES - 1 - not_below]
    }
}

/// Format of a tensor in 4 bits per value: each block of neighboring values, row-major, is divided by its
/// absolute maximum. Blocks may cross rows; the last one may be shorter.
///
/// The codes are bitsandbytes' bytes, in order: byte `i` holds code `2 i` in its upper four bits and code
/// `2 i + 1` in its lower ones. A word holds four bytes, the first in the lowest bits. An odd number of
/// codes is padded with the code of 0; the other bits of the last word are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FourBitFormat {
    /// Codes.
    pub quant_type: FourBitType,
    /// Number of values that share an absolute maximum.
    pub block_size: usize,
}

impl FourBitFormat {
    /// Number of codes in a `u32` word.
    pub const CODES_PER_WORD: usize = 8;

    /// Returns whether bitsandbytes has blocks of this size: powers of two from 32 to 4096.
    pub const fn has_block_size(size: usize) -> bool {
        size.is_power_of_two() && 32 <= size && size <= 4096
    }

    /// Returns the number of absolute maxima of `n` values.
    pub const fn num_blocks(self, n: usize) -> usize {
        n.div_ceil(self.block_size)
    }

    /// Returns the number of words of the codes of `n` values.
    pub const fn num_words(n: usize) -> usize {
        n.div_ceil(Self::CODES_PER_WORD)
    }

    /// Returns the number of bytes of the codes of `n` values.
    pub const fn num_bytes(n: usize) -> usize {
        n.div_ceil(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_nearest_values() {
        for quant_type in [FourBitType::Nf4, FourBitType::Fp4] {
            let values = quant_type.values();
            let distance = |x: f32, code: u8| (x - values[code as usize]).abs();
            for i in -100_000..=100_000 {
                let x = 1e-5 * i as f32;
                let found = distance(x, quant_type.code(x));
                let nearest = (0..16).map(|code| distance(x, code));
                let nearest = nearest.fold(f32::INFINITY, f32::min);
                assert!(found <= nearest + f32::EPSILON, "{quant_type:?} {x}");
            }
            for (i, &threshold) in quant_type.thresholds().iter().enumerate() {
                let ascending = quant_type.ascending();
                assert_eq!(quant_type.code(threshold), ascending[i]);
                assert_eq!(quant_type.code(threshold.next_up()), ascending[i + 1]);
            }
            assert_eq!(values[quant_type.code(f32::NAN) as usize], 1.0);
        }
    }
}
