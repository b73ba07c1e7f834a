use core::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ControlState;
use crate::{
    qat::{QuantizerSettings, error_probe::ErrorProbe, observer_slot::ObserverSlot},
    quant::{BitWidth, StaticConfig, WeightGranularity, WeightQuantizer},
};

/// What the clones of a quantizer share.
#[derive(Debug)]
pub(in crate::qat) struct ControlValues {
    /// Settings of the quantizer; a record is only loaded into a quantizer with the same settings.
    pub settings: QuantizerSettings,
    pub controlled: Controlled,
    pub observer: ObserverSlot,
    pub error_probe: ErrorProbe,
    state: Mutex<ControlState>,
}

/// The value quantized under a control.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::qat) enum Controlled {
    Weight(ControlledWeight),
    /// Activations, with the configuration of a static quantizer, for its range.
    Activation(Option<StaticConfig>),
}

/// A weight and its quantizer.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::qat) struct ControlledWeight {
    pub shape: Vec<usize>,
    pub quantizer: WeightQuantizer,
    /// Dimension of its output channels.
    pub output_axis: usize,
}

impl fmt::Display for ControlledWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (quantizer, output_axis) = (&self.quantizer, self.output_axis);
        write!(f, "{quantizer}, outputs in dimension {output_axis}")
    }
}

impl ControlledWeight {
    /// Returns the quantizer in use: the configured one, unless a schedule set another width or a scale for
    /// each channel.
    pub fn active_quantizer(&self, state: &ControlState) -> WeightQuantizer {
        let granularity = match state.per_channel {
            true => WeightGranularity::PerChannel,
            false => self.quantizer.granularity(),
        };
        match state.width {
            None => self
                .quantizer
                .clone()
                .with_computed_granularity(granularity),
            Some(BitWidth::Ternary) => WeightQuantizer::ternary(granularity),
            Some(BitWidth::Bits(bits)) => {
                WeightQuantizer::symmetric(bits).with_granularity(granularity)
            }
        }
    }
}

impl ControlValues {
    pub fn new(controlled: Controlled, settings: QuantizerSettings) -> Self {
        Self {
            settings,
            controlled,
            observer: ObserverSlot::default(),
            error_probe: ErrorProbe::default(),
            state: Mutex::default(),
        }
    }

    /// Returns an independent copy of the settings and the state, without observers.
    pub fn detached(&self) -> Self {
        let copy = Self::new(self.controlled.clone(), self.settings.clone());
        copy.update(|state| *state = self.state());
        copy
    }

    pub fn state(&self) -> ControlState {
        *self.lock()
    }

    pub fn update(&self, f: impl FnOnce(&mut ControlState)) {
        f(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, ControlState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the weight, unless activations are quantized.
    pub fn weight(&self) -> Option<&ControlledWeight> {
        match &self.controlled {
            Controlled::Weight(weight) => Some(weight),
            Controlled::Activation(_) => None,
        }
    }

    /// Returns the number of weights that are quantized; 0 for activations.
    pub fn num_weights(&self) -> usize {
        let weight = self.weight();
        weight.map_or(0, |weight| weight.shape.iter().product())
    }
}
