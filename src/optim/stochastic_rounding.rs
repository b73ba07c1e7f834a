use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use burn::{
    optim::{RecordState, StateSink, StateSource},
    tensor::{DType, Device, Tensor},
};

use crate::{base::random::mix, functions::stochastic_round};

/// Assigns each bf16 parameter a stream of seeds for its rounding.
#[derive(Debug, Clone)]
pub(super) struct StochasticRounding {
    seed: u64,
    streams: Arc<AtomicU32>,
}

/// State of the rounding of one parameter; in the record under `rounding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundingState {
    /// Number of the parameter, in the order of first steps.
    pub stream: u32,
    /// Number of steps rounded.
    pub steps: u64,
}

impl StochasticRounding {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            streams: Arc::default(),
        }
    }

    /// Rounds the parameter back to bf16 after a step in f32.
    pub(super) fn round<const D: usize>(
        &self,
        param: Tensor<D>,
        state: Option<RoundingState>,
    ) -> (Tensor<D>, RoundingState) {
        let mut state = state.unwrap_or_else(|| RoundingState {
            stream: self.streams.fetch_add(1, Ordering::Relaxed),
            steps: 0,
        });
        let key = mix(self.seed ^ mix(state.stream.into()));
        let seed = mix(key.wrapping_add(state.steps)) >> 32;
        state.steps += 1;
        (stochastic_round(param, seed as u32), state)
    }

    /// Returns `true` if the parameter is bf16.
    pub(super) fn applies<const D: usize>(param: &Tensor<D>) -> bool {
        param.dtype() == DType::BF16
    }
}

impl RecordState for RoundingState {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_scalar(prefix, "stream", self.stream.into());
        out.push_scalar(prefix, "steps", self.steps.into());
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, _device: &Device) -> Option<Self> {
        Some(Self {
            stream: src.take_scalar(prefix, "stream")?.try_into().ok()?,
            steps: src.take_scalar(prefix, "steps")?.try_into().ok()?,
        })
    }
}
