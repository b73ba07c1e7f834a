use crate::functions::rotary_embedding;
use burn::{
    config::Config,
    module::Module,
    tensor::{Device, Int, Tensor, assert_shape},
};
use serde::{Deserialize, Serialize};

/// How the frequencies of a [`RotaryEmbedding`] are slowed down for more positions than a model was
/// first trained with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RopeScaling {
    /// `f / factor`.
    Linear {
        /// How much slower.
        factor: f64,
    },
    /// Llama 3.1: `f / factor` for wavelengths above `original_max_positions / low_freq_factor`, `f` for
    /// those below `original_max_positions / high_freq_factor`, and a blend between.
    Llama3 {
        /// How much slower.
        factor: f64,
        /// Turns in the original positions below which a frequency is slowed down in full.
        low_freq_factor: f64,
        /// Turns in the original positions above which a frequency stays.
        high_freq_factor: f64,
        /// Positions of the first training.
        original_max_positions: usize,
    },
}

impl RopeScaling {
    /// A frequency as it is used.
    pub(crate) fn apply(&self, frequency: f64) -> f64 {
        match self {
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_positions,
            } => {
                let turns = *original_max_positions as f64 * frequency / core::f64::consts::TAU;
                let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
}

/// Configuration of a [`RotaryEmbedding`].
#[derive(Config, Debug)]
pub struct RotaryEmbeddingConfig {
    /// The size of a head.
    pub d_head: usize,
    /// Number of positions.
    pub max_positions: usize,
    /// Base of the frequencies.
    #[config(default = 10000.0)]
    pub theta: f32,
    /// How the frequencies are slowed down; `None` for as they are.
    pub scaling: Option<RopeScaling>,
}

/// Rotary position embedding in the half-rotation order of Hugging Face's Llama family:
/// dimension `i` turns together with dimension `i + d_head / 2`.
///
/// `Y = X * cos(p f) + rotate_half(X) * sin(p f)` with `f_i = theta^(-2 i / d_head)` and
/// `rotate_half([a, b]) = [-b, a]`.
///
/// (Burn's [`RotaryEncoding`](burn::nn::RotaryEncoding) turns neighbouring dimensions together;
/// with it, checkpoints of that family would need their query and key weights permuted.)
///
/// Source: [RoFormer](https://arxiv.org/abs/2104.09864).
#[derive(Module, Debug)]
pub struct RotaryEmbedding {
    /// Cosines of shape `[max_positions, d_head / 2]`.
    cos: Tensor<2>,
    /// Sines of shape `[max_positions, d_head / 2]`.
    sin: Tensor<2>,
}

impl RotaryEmbeddingConfig {
    /// Initialize a new [`RotaryEmbedding`].
    ///
    /// # Panics
    ///
    /// If `d_head` is odd.
    pub fn init(&self, device: &Device) -> RotaryEmbedding {
        assert!(
            self.d_head.is_multiple_of(2),
            "d_head must be even to be turned in pairs, got {}",
            self.d_head
        );
        let half = self.d_head / 2;
        let frequencies: Vec<f32> = (0..half)
            .map(|i| (self.theta as f64).powf(-2.0 * i as f64 / self.d_head as f64))
            .map(|f| self.scaling.as_ref().map_or(f, |scaling| scaling.apply(f)) as f32)
            .collect();
        let frequencies = Tensor::<1>::from_floats(frequencies.as_slice(), device);
        let positions = Tensor::<1, Int>::arange(0..self.max_positions as i64, device).float();
        let angles = positions.reshape([self.max_positions, 1]) * frequencies.reshape([1, half]);
        RotaryEmbedding {
            cos: angles.clone().cos(),
            sin: angles.sin(),
        }
    }
}

impl RotaryEmbedding {
    /// Number of positions.
    pub fn max_positions(&self) -> usize {
        self.cos.dims()[0]
    }

    /// Turns each head of `x`; the first of its positions is `start`.
    ///
    /// # Shapes
    ///
    /// - x, output: `[batch, heads, positions, d_head]`
    ///
    /// # Panics
    ///
    /// If a head has another size, or the positions go beyond `max_positions`.
    pub fn forward(&self, x: Tensor<4>, start: usize) -> Tensor<4> {
        let [max_positions, half] = self.cos.dims();
        let d_head = 2 * half;
        assert_shape!(x, [_, _, _, d_head]);
        let positions = x.dims()[2];
        assert!(
            start + positions <= max_positions,
            "positions {start}..{} go beyond max_positions {max_positions}",
            start + positions
        );
        let table = |table: &Tensor<2>| table.clone().narrow(0, start, positions);
        rotary_embedding(x, table(&self.cos), table(&self.sin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Distribution, Tolerance};

    #[test]
    fn the_product_of_two_heads_depends_on_their_distance_only() {
        let device = Device::default();
        let rotary = RotaryEmbeddingConfig::new(8, 16).init(&device);
        let query = Tensor::<4>::random([1, 1, 1, 8], Distribution::Default, &device);
        let key = Tensor::<4>::random([1, 1, 1, 8], Distribution::Default, &device);
        let product = |q: usize, k: usize| {
            let q = rotary.forward(query.clone(), q);
            let k = rotary.forward(key.clone(), k);
            (q * k).sum().into_data()
        };
        product(5, 2).assert_approx_eq::<f32>(&product(12, 9), Tolerance::absolute(1e-5));
    }

    #[test]
    fn llama3_slows_long_waves_down_and_leaves_short_ones() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_positions: 8192,
        };
        assert_eq!(scaling.apply(1.0), 1.0);
        assert_eq!(scaling.apply(1e-6), 1e-6 / 8.0);
        // Two and a half turns are half way between.
        let half_way = 2.5 * core::f64::consts::TAU / 8192.0;
        let expected = half_way * (0.5 / 8.0 + 0.5);
        assert!((scaling.apply(half_way) - expected).abs() < 1e-12);
    }

    #[test]
    #[should_panic(expected = "positions 3..5 go beyond max_positions 4")]
    fn a_position_beyond_the_table_is_refused() {
        let device = Device::default();
        let rotary = RotaryEmbeddingConfig::new(2, 4).init(&device);
        rotary.forward(Tensor::zeros([1, 1, 2, 2], &device), 3);
    }
}
