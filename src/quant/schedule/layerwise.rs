use serde::{Deserialize, Serialize};

use super::{LayerOrder, ProgressiveSchedule, ScheduleError};
use crate::base::bounds::Bounds;

const OVERLAP: &str = "the overlap of layers";

/// Configuration to quantize layers one after the other, each on its own part of one schedule.
///
/// # Example
///
/// ```
/// use bitnet_burn::quant::schedule::{
///     LayerOrder, LayerwiseConfig, ProgressiveSchedule, ProgressiveShape,
/// };
///
/// let whole = ProgressiveSchedule::new(ProgressiveShape::Linear, 0, 300)?;
/// let lambda = LayerwiseConfig::new(whole)
///     .with_order(LayerOrder::BackToFront)
///     .init(&["layers.0", "layers.1", "layers.2"])?;
/// assert_eq!(lambda.value(150, 2), 1.0);
/// assert_eq!(lambda.value(150, 1), 0.5);
/// assert_eq!(lambda.value_of(150, "layers.0"), Some(0.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LayerwiseConfig {
    /// Schedule from the start of the first layer to the end of the last, and the shape of each.
    pub schedule: ProgressiveSchedule,
    /// Order of the layers.
    pub order: LayerOrder,
    /// Part of a layer's time that overlaps with its successor, in [0, 1]: with 0 a layer starts where
    /// the previous one ends, with 1 all have the same schedule.
    #[serde(deserialize_with = "deserialize_overlap")]
    pub overlap: f64,
}

fn deserialize_overlap<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Bounds::FRACTION.read(OVERLAP, deserializer)
}

/// The schedule of every layer of a model; see [`LayerwiseConfig`].
#[derive(Debug, Clone, PartialEq)]
pub struct LayerwiseSchedule {
    /// Name and schedule of each layer, from front to back.
    layers: Vec<(String, ProgressiveSchedule)>,
}

impl LayerwiseConfig {
    /// Creates a configuration from front to back without overlap.
    pub fn new(schedule: ProgressiveSchedule) -> Self {
        Self {
            schedule,
            ..Self::default()
        }
    }

    /// Sets the order of the layers.
    #[must_use]
    pub fn with_order(mut self, order: LayerOrder) -> Self {
        self.order = order;
        self
    }

    /// Sets the overlap of the layers.
    #[must_use]
    pub fn with_overlap(mut self, overlap: f64) -> Self {
        self.overlap = overlap;
        self
    }

    /// Returns the schedules of the layers of a model, named from front to back.
    ///
    /// With `n` layers and the whole from `start` to `end`, a layer takes
    /// `d = (end - start) / (1 + (n - 1)(1 - overlap))` steps, and the one at place `r` of the
    /// order starts `r * d * (1 - overlap)` after the first, both rounded down to steps.
    ///
    /// # Errors
    ///
    /// If the overlap is not in [0, 1] or the order does not fit the names of the layers.
    pub fn init<S: AsRef<str>>(&self, layers: &[S]) -> Result<LayerwiseSchedule, ScheduleError> {
        Bounds::FRACTION.check(OVERLAP, self.overlap)?;
        let ranks = self.order.ranks(layers)?;
        let last = layers.len().saturating_sub(1);
        let layer = |(name, rank): (&S, usize)| {
            let (start, end) = self.span(rank, last);
            (name.as_ref().to_string(), self.schedule.between(start, end))
        };
        Ok(LayerwiseSchedule {
            layers: layers.iter().zip(ranks).map(layer).collect(),
        })
    }

    /// Returns the start and end of the layer at place `rank` of `0..=last`.
    fn span(&self, rank: usize, last: usize) -> (usize, usize) {
        let (start, end) = (self.schedule.start(), self.schedule.end());
        let whole = (end - start) as f64;
        let apart = 1.0 - self.overlap;
        let duration = whole / (1.0 + last as f64 * apart);
        let begin = rank as f64 * apart * duration;
        // The cast rounds down. A sum may round up to one step too many, or the last one down to one too few.
        let at = |offset: f64| start + (offset as usize).min(end - start);
        match rank == last {
            true => (at(begin), end),
            false => (at(begin), at(begin + duration)),
        }
    }
}

impl LayerwiseSchedule {
    /// Returns the value of a layer at a step, in [0, 1]; layers count from front to back.
    ///
    /// # Panics
    ///
    /// If there is no such layer.
    #[track_caller]
    pub fn value(&self, step: usize, layer: usize) -> f64 {
        assert!(
            layer < self.layers.len(),
            "the schedule has {} layers, got the layer number {layer}",
            self.layers.len()
        );
        self.layers[layer].1.value(step)
    }

    /// Returns the value of a layer at a step, or `None` if no layer has the name.
    pub fn value_of(&self, step: usize, layer: &str) -> Option<f64> {
        let mut layers = self.layers.iter();
        let (_, schedule) = layers.find(|(name, _)| name == layer)?;
        Some(schedule.value(step))
    }

    /// Returns the name and schedule of each layer, from front to back.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = (&str, &ProgressiveSchedule)> {
        (self.layers.iter()).map(|(name, schedule)| (name.as_str(), schedule))
    }
}
