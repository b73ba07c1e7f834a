//! Quantizers with evenly spaced levels, and their surrogate gradients.

/// The range of integer codes of a quantizer, both ends included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantRange {
    /// Smallest code.
    pub min: f32,
    /// Largest code.
    pub max: f32,
}

impl QuantRange {
    /// Codes of ternary weights: -1 to 1.
    pub const TERNARY: Self = Self {
        min: -1.0,
        max: 1.0,
    };

    /// Signed codes of `bits` bits: `-2^(bits-1)` to `2^(bits-1) - 1`.
    ///
    /// # Panics
    ///
    /// If `bits` is not in 2..=8.
    #[track_caller]
    pub fn signed(bits: u8) -> Self {
        let half = Self::levels(bits) / 2.0;
        Self {
            min: -half,
            max: half - 1.0,
        }
    }

    /// Unsigned codes of `bits` bits: 0 to `2^bits - 1`.
    ///
    /// # Panics
    ///
    /// If `bits` is not in 2..=8.
    #[track_caller]
    pub fn unsigned(bits: u8) -> Self {
        Self {
            min: 0.0,
            max: Self::levels(bits) - 1.0,
        }
    }

    #[track_caller]
    fn levels(bits: u8) -> f32 {
        assert!((2..=8).contains(&bits), "bits must be 2 to 8, got {bits}");
        (1u32 << bits) as f32
    }
}

/// The factor `f(v)` that the gradient of a quantized value is multiplied by, as a function of
/// the value in codes, `v = x / step + zero_point`. A NaN has the factor 0 under every rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GradientRule {
    /// 1 where `bound * (min - z) <= v - z <= bound * (max - z)`, with the zero point `z`; else 0.
    Clipped {
        /// Size of the passing range, as a multiple of the range of the levels.
        bound: f32,
    },
    /// Derivative of a tanh through each step of the staircase, scaled to meet the levels in the
    /// middle between two steps: with `d` the distance from the nearest threshold,
    /// `k / (2 tanh(k / 2)) * (1 - tanh(k d)^2)` with `k = 1 / temperature`; 0 outside the codes.
    Tanh {
        /// Width of the step, in codes.
        temperature: f32,
    },
    /// Derivative of a sum of sigmoids, one for each threshold `t`:
    /// `sum sigma'((v - t) / temperature) / temperature`. Terms of thresholds further away than
    /// [`SIGMOID_REACH`](Self::SIGMOID_REACH) temperatures are left out; each is below
    /// `3e-9 / temperature`.
    Sigmoid {
        /// Width of the steps, in codes.
        temperature: f32,
    },
    /// Derivative with respect to the step size: `round(v) - v` within the codes, else the nearest
    /// end of the codes.
    StepSize,
}

impl GradientRule {
    /// Distance in temperatures beyond which a sigmoid's derivative is taken as zero.
    pub const SIGMOID_REACH: f32 = 20.0;
}
