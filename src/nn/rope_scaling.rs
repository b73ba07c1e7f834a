use core::f64::consts::{PI, TAU};

use serde::{Deserialize, Serialize};

/// Scaling of the frequencies of a [`RotaryEmbedding`](super::RotaryEmbedding) for more positions than in
/// the first training of a model.
///
/// The formulas are those of Transformers, whose
/// [`modeling_rope_utils.py`](https://github.com/huggingface/transformers/blob/main/src/transformers/modeling_rope_utils.py)
/// has one function for each. `f_i = theta^(-2 i / d)` is the frequency of pair `i` of the `d` rotated values
/// of a head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RopeScaling {
    /// Linear: `f / factor`.
    Linear {
        /// Divisor of the frequencies.
        factor: f64,
    },
    /// Llama 3.1: `f / factor` for wavelengths above `original_max_positions / low_freq_factor`, `f` for
    /// those below `original_max_positions / high_freq_factor`, and a blend between.
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Rotations in the original positions below which a frequency is divided by the full `factor`.
        low_freq_factor: f64,
        /// Rotations in the original positions above which a frequency is unchanged.
        high_freq_factor: f64,
        /// Number of positions of the first training.
        original_max_positions: usize,
    },
    /// [YaRN](https://arxiv.org/abs/2309.00071): `f_i (r_i / factor + 1 - r_i)` with the ramp
    /// `r_i = clamp((i - low) / (high - low), 0, 1)`, and cosines and sines times an
    /// [attention factor](Self::attention_factor).
    ///
    /// The ramp goes from the pair that rotates `beta_fast` times in the original positions to the one that
    /// rotates `beta_slow` times: `low` and `high` are
    /// `d ln(original_max_positions / (2 pi beta)) / (2 ln theta)` for these, within `0` and `d - 1`.
    Yarn {
        /// Divisor of low frequencies.
        factor: f64,
        /// Number of positions of the first training.
        original_max_positions: usize,
        /// Rotations in the original positions above which a frequency is unchanged; 32 in Transformers by
        /// default.
        beta_fast: f64,
        /// Rotations in the original positions below which a frequency is divided by the full `factor`; 1 in
        /// Transformers by default.
        beta_slow: f64,
        /// Rounds `low` down and `high` up to whole pairs, as Transformers does by default.
        truncate: bool,
        /// Factor of cosines and sines; `None` to compute it from the other numbers.
        attention_factor: Option<f64>,
        /// Weight of `ln(factor)` in the numerator of the attention factor.
        mscale: Option<f64>,
        /// Weight of `ln(factor)` in its denominator.
        mscale_all_dim: Option<f64>,
    },
    /// [LongRoPE](https://arxiv.org/abs/2402.13753) for sequences up to the length of the first training:
    /// `f_i / short_factor[i]`, and cosines and sines times `attention_factor`.
    ///
    /// Longer sequences would use `long_factor` for all of their positions, also the first ones, which a
    /// table of positions cannot represent. Therefore the maximum number of positions is
    /// `original_max_positions`.
    Longrope {
        /// Divisor of the frequency of each pair.
        short_factor: Vec<f64>,
        /// Divisor of the frequency of each pair in longer sequences.
        long_factor: Vec<f64>,
        /// Number of positions of the first training.
        original_max_positions: usize,
        /// Factor of cosines and sines.
        attention_factor: f64,
    },
}

impl RopeScaling {
    /// Returns the scaled frequencies of the pairs of `d_rotary` values.
    pub(super) fn frequencies(&self, theta: f64, d_rotary: usize) -> Vec<f64> {
        let plain = plain_frequencies(theta, d_rotary);
        match self {
            Self::Linear { factor } => plain.map(|f| f / factor).collect(),
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_positions,
            } => {
                let turns = |f: f64| *original_max_positions as f64 * f / TAU;
                let keep = |f: f64| {
                    let smooth =
                        (turns(f) - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    smooth.clamp(0.0, 1.0)
                };
                plain
                    .map(|f| (1.0 - keep(f)) * f / factor + keep(f) * f)
                    .collect()
            }
            Self::Yarn {
                factor,
                original_max_positions,
                beta_fast,
                beta_slow,
                truncate,
                ..
            } => {
                let pair = |turns: &f64| {
                    let length = *original_max_positions as f64 / (turns * 2.0 * PI);
                    d_rotary as f64 * length.ln() / (2.0 * theta.ln())
                };
                let [low, high] = yarn_range(pair(beta_fast), pair(beta_slow), *truncate, d_rotary);
                let ramp = |i: usize| ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                plain
                    .enumerate()
                    .map(|(i, f)| f / factor * ramp(i) + f * (1.0 - ramp(i)))
                    .collect()
            }
            Self::Longrope { short_factor, .. } => plain
                .zip(short_factor)
                .map(|(f, factor)| f / factor)
                .collect(),
        }
    }

    /// Returns the factor of cosines and sines: 1 except for YaRN and LongRoPE.
    ///
    /// Without a configured factor, YaRN has `m(mscale) / m(mscale_all_dim)` with
    /// `m(s) = 0.1 s ln(factor) + 1` if both are given and not zero, else `m(1)`, and 1 for factors up to 1.
    pub fn attention_factor(&self) -> f64 {
        match self {
            Self::Linear { .. } | Self::Llama3 { .. } => 1.0,
            Self::Longrope {
                attention_factor, ..
            } => *attention_factor,
            Self::Yarn {
                attention_factor: Some(attention_factor),
                ..
            } => *attention_factor,
            Self::Yarn {
                factor,
                mscale,
                mscale_all_dim,
                ..
            } => {
                let m = |scale: f64| match *factor <= 1.0 {
                    true => 1.0,
                    false => 0.1 * scale * factor.ln() + 1.0,
                };
                let given = |scale: &Option<f64>| scale.filter(|scale| *scale != 0.0);
                match (given(mscale), given(mscale_all_dim)) {
                    (Some(mscale), Some(all)) => m(mscale) / m(all),
                    _ => m(1.0),
                }
            }
        }
    }

    /// Returns the reason why it does not fit the positions and rotated values, or `None` if it does.
    pub(crate) fn problem(&self, max_positions: usize, d_rotary: usize) -> Option<String> {
        let Self::Longrope {
            short_factor,
            long_factor,
            original_max_positions,
            ..
        } = self
        else {
            return None;
        };
        let pairs = d_rotary / 2;
        if short_factor.len() != pairs || long_factor.len() != pairs {
            return Some(format!(
                "LongRoPE has a factor for each of {pairs} pairs, got {} and {}",
                short_factor.len(),
                long_factor.len()
            ));
        }
        (max_positions > *original_max_positions).then(|| {
            format!(
                "LongRoPE is computed for up to its original_max_positions, {original_max_positions}, got \
                 {max_positions} positions"
            )
        })
    }
}

/// Returns the first and last pair of YaRN's ramp, from those that rotate `beta_fast` and `beta_slow` times.
fn yarn_range(fast: f64, slow: f64, truncate: bool, d_rotary: usize) -> [f64; 2] {
    let (low, high) = match truncate {
        true => (fast.floor(), slow.ceil()),
        false => (fast, slow),
    };
    let (low, high) = (low.max(0.0), high.min(d_rotary as f64 - 1.0));
    // A ramp needs a length above 0.
    [low, if low == high { high + 0.001 } else { high }]
}

/// Returns `theta^(-2 i / d_rotary)`.
pub(super) fn plain_frequencies(theta: f64, d_rotary: usize) -> impl Iterator<Item = f64> {
    (0..d_rotary / 2).map(move |i| theta.powf(-2.0 * i as f64 / d_rotary as f64))
}
