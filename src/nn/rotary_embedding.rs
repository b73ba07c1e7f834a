use crate::functions::rotary_embedding;
use burn::{
    config::Config,
    module::Module,
    tensor::{Device, Int, Tensor, assert_shape},
};

use super::{RopeScaling, rope_scaling::plain_frequencies};

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
    /// Scaling of the frequencies; `None` for none.
    pub scaling: Option<RopeScaling>,
    /// Number of values of a head that are rotated, the first ones; `None` for all.
    pub d_rotary: Option<usize>,
}

/// Rotary position embedding in the half-rotation order of Hugging Face's Llama family:
/// dimension `i` is rotated together with dimension `i + d_head / 2`.
///
/// `Y = X * cos(p f) + rotate_half(X) * sin(p f)` with `f_i = theta^(-2 i / d_head)` and
/// `rotate_half([a, b]) = [-b, a]`. A [`RopeScaling`] changes the frequencies, and multiplies cosines and
/// sines by its attention factor.
///
/// If only `d_rotary` values of a head are rotated, `X` is these, with `d_rotary` in place of `d_head`, and
/// the others are unchanged (`partial_rotary_factor` of Transformers, `rope.dimension_count` of llama.cpp).
///
/// (Burn's [`RotaryEncoding`](burn::nn::RotaryEncoding) rotates neighboring dimensions together;
/// with it, checkpoints of that family would need their query and key weights permuted.)
///
/// Source: [RoFormer](https://arxiv.org/abs/2104.09864).
#[derive(Module, Debug)]
pub struct RotaryEmbedding {
    /// Cosines of shape `[max_positions, d_rotary / 2]`.
    cos: Tensor<2>,
    /// Sines of shape `[max_positions, d_rotary / 2]`.
    sin: Tensor<2>,
    d_head: usize,
}

impl RotaryEmbeddingConfig {
    /// Initialize a new [`RotaryEmbedding`].
    ///
    /// # Panics
    ///
    /// If the number of rotated values is odd, 0 or above `d_head`, or the scaling does not fit it and
    /// `max_positions`.
    #[track_caller]
    pub fn init(&self, device: &Device) -> RotaryEmbedding {
        let d_rotary = self.rotary_size();
        assert!(
            d_rotary.is_multiple_of(2),
            "d_head must be even to be turned in pairs, got {d_rotary}"
        );
        assert!(
            (2..=self.d_head).contains(&d_rotary),
            "2 to d_head values of a head are turned, got {d_rotary} of {}",
            self.d_head
        );
        let scaling = self.scaling.as_ref();
        if let Some(problem) = scaling.and_then(|s| s.problem(self.max_positions, d_rotary)) {
            panic!("{problem}");
        }
        let half = d_rotary / 2;
        let frequencies: Vec<f32> = self.frequencies().into_iter().map(|f| f as f32).collect();
        let frequencies = Tensor::<1>::from_floats(frequencies.as_slice(), device);
        let positions = Tensor::<1, Int>::arange(0..self.max_positions as i64, device).float();
        let angles = positions.reshape([self.max_positions, 1]) * frequencies.reshape([1, half]);
        let factor = scaling.map_or(1.0, RopeScaling::attention_factor);
        let scaled = |table: Tensor<2>| match factor == 1.0 {
            true => table,
            false => table * factor as f32,
        };
        RotaryEmbedding {
            cos: scaled(angles.clone().cos()),
            sin: scaled(angles.sin()),
            d_head: self.d_head,
        }
    }

    /// Returns the scaled frequency of each pair.
    pub fn frequencies(&self) -> Vec<f64> {
        let (theta, d_rotary) = (f64::from(self.theta), self.rotary_size());
        match &self.scaling {
            Some(scaling) => scaling.frequencies(theta, d_rotary),
            None => plain_frequencies(theta, d_rotary).collect(),
        }
    }

    /// Returns the number of values of a head that are rotated.
    pub fn rotary_size(&self) -> usize {
        self.d_rotary.unwrap_or(self.d_head)
    }
}

impl RotaryEmbedding {
    /// Returns the number of positions.
    pub fn max_positions(&self) -> usize {
        self.cos.dims()[0]
    }

    /// Rotates each head of `x`; the first of its positions is `start`.
    ///
    /// # Shapes
    ///
    /// - x, output: `[batch, heads, positions, d_head]`
    ///
    /// # Panics
    ///
    /// If a head has another size, or a position is beyond `max_positions`.
    #[track_caller]
    pub fn forward(&self, x: Tensor<4>, start: usize) -> Tensor<4> {
        let [max_positions, half] = self.cos.dims();
        let (d_head, d_rotary) = (self.d_head, 2 * half);
        assert_shape!(x, [_, _, _, d_head]);
        let positions = x.dims()[2];
        assert!(
            start + positions <= max_positions,
            "positions {start}..{} go beyond max_positions {max_positions}",
            start + positions
        );
        let table = |table: &Tensor<2>| table.clone().narrow(0, start, positions);
        let [cos, sin] = [table(&self.cos), table(&self.sin)];
        if d_rotary == d_head {
            return rotary_embedding(x, cos, sin);
        }
        let rest = x.clone().narrow(3, d_rotary, d_head - d_rotary);
        let turned = rotary_embedding(x.narrow(3, 0, d_rotary), cos, sin);
        Tensor::cat(vec![turned, rest], 3)
    }
}
