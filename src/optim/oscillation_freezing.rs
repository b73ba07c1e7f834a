use burn::{config::Config, tensor::Tensor};
use serde::{Deserialize, Serialize};

use super::{
    LatentQuantizer, OscillationMonitor, latent_quantizer::Codes,
    oscillation_state::OscillationState,
};
use crate::base::bounds::{Bounds, OutOfBounds};

/// Tracking of weights whose integer code oscillates, and freezing of those that do so frequently.
///
/// A latent weight near a threshold of the quantizer is pushed back and forth across it, since the
/// straight-through gradient of either code points to the other. At each step, with `c` the integer
/// code of a weight after the step and `m` the momentum:
///
/// - the weight *flips* if `c` differs from the previous code, and *oscillates* (`o = 1`) if it
///   flips in the direction opposite to its last flip;
/// - `f <- m o + (1 - m) f` is the frequency of its oscillation;
/// - if `f` is above the threshold, the weight is frozen to the code `round(c_mean)`;
/// - `c_mean <- m c + (1 - m) c_mean`.
///
/// A frozen weight is set to `code * scale` and receives no further update, neither from the
/// gradient nor from weight decay. It is set again only if the scale has changed so far that the
/// weight would be quantized to another code. (Setting it at each step would let a scale computed
/// from the weights themselves, such as `mean|W|`, shrink without limit.) Weights are never
/// unfrozen.
///
/// State: four f32 values and a flag for each weight.
///
/// Source: [Overcoming Oscillations in Quantization-Aware
/// Training](https://arxiv.org/abs/2203.11086), section 4.3 and algorithm 1.
#[derive(Config, Debug, PartialEq)]
pub struct OscillationFreezingConfig {
    /// Momentum `m` of the moving averages. The threshold should be at least two or three times as
    /// large: a single oscillation gives `f = m`.
    #[config(default = 0.01)]
    pub momentum: f64,
    /// Frequency above which a weight is frozen.
    #[config(default = "FreezingThreshold::Never")]
    pub threshold: FreezingThreshold,
}

/// Frequency of oscillation above which a weight is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FreezingThreshold {
    /// Oscillations are tracked, but no weight is frozen.
    Never,
    /// Constant threshold.
    Constant(f64),
    /// `end + (start - end) (1 + cos(pi t / total_steps)) / 2` at step `t`, counted from 0, and `end`
    /// from step `total_steps` on, the first after a training of `total_steps` steps. The paper
    /// decreases it from 0.04 to 0.015 or 0.01: weights that oscillate least are frozen last.
    Cosine {
        /// Threshold at step 0.
        start: f64,
        /// Threshold from step `total_steps` on.
        end: f64,
        /// Number of steps from `start` to `end`.
        total_steps: usize,
    },
}

impl FreezingThreshold {
    /// Returns the threshold at a step counted from 0; infinite for [`Never`](Self::Never).
    pub fn at(&self, step: usize) -> f64 {
        match *self {
            Self::Never => f64::INFINITY,
            Self::Constant(threshold) => threshold,
            Self::Cosine {
                end, total_steps, ..
            } if step >= total_steps => end,
            Self::Cosine {
                start,
                end,
                total_steps,
            } => {
                let angle = core::f64::consts::PI * step as f64 / total_steps as f64;
                end + (start - end) * (1.0 + angle.cos()) / 2.0
            }
        }
    }
}

impl OscillationFreezingConfig {
    pub(super) fn validate(&self) -> Result<(), OutOfBounds> {
        Bounds::POSITIVE_FRACTION.check("momentum", self.momentum)?;
        match self.threshold {
            FreezingThreshold::Never => Ok(()),
            FreezingThreshold::Constant(threshold) => Bounds::ABOVE_0.check("threshold", threshold),
            FreezingThreshold::Cosine { start, end, .. } => {
                Bounds::ABOVE_0.check("threshold.start", start)?;
                Bounds::ABOVE_0.check("threshold.end", end)
            }
        }
    }

    /// Keeps the frozen weights of `stepped`, tracks the codes of the others, and freezes those
    /// that oscillate too often. `before` is the weight before the step.
    pub(super) fn step<const D: usize>(
        &self,
        before: Tensor<D>,
        stepped: Tensor<D>,
        quantizer: &LatentQuantizer,
        state: Option<OscillationState<D>>,
        monitor: Option<&OscillationMonitor>,
    ) -> (Tensor<D>, OscillationState<D>) {
        let mut state =
            state.unwrap_or_else(|| OscillationState::new(quantizer.codes(before.clone()).codes));
        let held = stepped.mask_where(state.frozen.clone(), before);
        let Codes { codes, scales } = quantizer.codes(held.clone());
        let moved = codes.clone().not_equal(state.codes.clone());
        let codes = codes.mask_where(state.frozen.clone(), state.codes.clone());

        let threshold = self.threshold.at(state.steps);
        let tracked = state.track(codes, self.momentum, threshold);
        if let Some(monitor) = monitor {
            monitor.add(&tracked, &state);
        }
        // A frozen weight is set when it is frozen, and when it would round to another code.
        let set = tracked
            .newly_frozen
            .bool_or(moved.bool_and(state.frozen.clone()));
        let centre = (state.codes.clone() * scales).cast(held.dtype());
        (held.mask_where(set, centre), state)
    }
}
