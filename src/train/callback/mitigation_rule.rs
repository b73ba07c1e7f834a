use core::fmt;

use serde::{Deserialize, Serialize};

use crate::qat::QuantizationError;

/// What is done when a layer, or the loss, looks ill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MitigationRule {
    /// What is looked for.
    pub symptom: Symptom,
    /// Measurements in a row that must show it, 1 or more.
    #[serde(default = "once")]
    pub patience: usize,
    /// What is done.
    pub remedy: Remedy,
}

fn once() -> usize {
    1
}

/// A sign that quantisation does harm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Symptom {
    /// A quantiser has less signal to noise.
    SqnrBelow {
        /// In dB.
        db: f64,
    },
    /// More values lie beyond the range of a quantiser.
    ClippingAbove {
        /// Share of the values, 0 to 1.
        rate: f64,
    },
    /// More codes of a weight change from one look to the next.
    FlipsAbove {
        /// Share of the codes, 0 to 1.
        rate: f64,
    },
    /// More quantised values are zero.
    ZerosAbove {
        /// Share of the values, 0 to 1.
        fraction: f64,
    },
    /// The training loss is above so many times the smallest that was seen before, or no number.
    LossAbove {
        /// Above 1.
        factor: f64,
    },
}

/// What is done about a [`Symptom`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Remedy {
    /// A scale for each output channel of the weight.
    PerChannel,
    /// Codes of more bits, for the weight or the activation.
    Bits {
        /// 2 to 8.
        bits: u8,
    },
    /// The quantiser leaves its values in float.
    Exclude,
    /// The learning rate is multiplied by a factor.
    LearningRate {
        /// Above 0 and below 1.
        factor: f64,
    },
    /// Model and optimizer go back to the last checkpoint.
    RollBack,
}

impl Symptom {
    /// What the report on a quantiser shows of it: the number, if it is beyond the threshold.
    pub(super) fn of_layer(&self, error: &QuantizationError) -> Option<f64> {
        match *self {
            // Without a number there is nothing to compare: zeros, or values hit exactly.
            Self::SqnrBelow { db } => error.sqnr_db.filter(|found| *found < db),
            Self::ClippingAbove { rate } => beyond(error.clipping_rate, rate),
            Self::FlipsAbove { rate } => error.flip_rate.and_then(|found| beyond(found, rate)),
            Self::ZerosAbove { fraction } => beyond(error.zero_fraction, fraction),
            Self::LossAbove { .. } => None,
        }
    }
}

fn beyond(found: f64, limit: f64) -> Option<f64> {
    (found > limit).then_some(found)
}

impl MitigationRule {
    /// What is out of its range, if something is.
    pub(in crate::train) fn fault(&self) -> Option<String> {
        if self.patience == 0 {
            return Some("the patience is 1 measurement or more, got 0".to_string());
        }
        let valid = match self.symptom {
            Symptom::SqnrBelow { db } => db.is_finite(),
            Symptom::ClippingAbove { rate } | Symptom::FlipsAbove { rate } => {
                (0.0..=1.0).contains(&rate)
            }
            Symptom::ZerosAbove { fraction } => (0.0..=1.0).contains(&fraction),
            Symptom::LossAbove { factor } => factor > 1.0,
        };
        if !valid {
            return Some(format!(
                "the threshold is out of its range: {:?}",
                self.symptom
            ));
        }
        let valid = match self.remedy {
            Remedy::Bits { bits } => (2..=8).contains(&bits),
            Remedy::LearningRate { factor } => factor > 0.0 && factor < 1.0,
            _ => true,
        };
        if !valid {
            return Some(format!("the remedy is out of its range: {:?}", self.remedy));
        }
        let of_layer = matches!(
            self.remedy,
            Remedy::PerChannel | Remedy::Bits { .. } | Remedy::Exclude
        );
        let of_loss = matches!(self.symptom, Symptom::LossAbove { .. });
        (of_layer && of_loss).then(|| {
            format!(
                "the loss belongs to no layer, so that {:?} is no remedy for it",
                self.remedy
            )
        })
    }
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SqnrBelow { db } => write!(f, "SQNR below {db} dB"),
            Self::ClippingAbove { rate } => write!(f, "clipping rate above {rate}"),
            Self::FlipsAbove { rate } => write!(f, "flip rate above {rate}"),
            Self::ZerosAbove { fraction } => write!(f, "share of zeros above {fraction}"),
            Self::LossAbove { factor } => write!(f, "loss above {factor} times the smallest"),
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerChannel => write!(f, "a scale for each channel"),
            Self::Bits { bits } => write!(f, "{bits} bits"),
            Self::Exclude => write!(f, "stays in float"),
            Self::LearningRate { factor } => write!(f, "the learning rate times {factor}"),
            Self::RollBack => write!(f, "back to the last checkpoint"),
        }
    }
}
