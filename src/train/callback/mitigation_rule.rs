use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    base::{
        bits::check_bits,
        bounds::{Bounds, OutOfBounds},
    },
    qat::QuantizationError,
};

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
    /// Checks the numbers, and that the remedy is one for the symptom.
    pub(in crate::train) fn validate(&self) -> Result<(), OutOfBounds> {
        Bounds::COUNT.check("patience", self.patience)?;
        match self.symptom {
            Symptom::SqnrBelow { db } => Bounds::FINITE.check("db", db),
            Symptom::ClippingAbove { rate } | Symptom::FlipsAbove { rate } => {
                Bounds::FRACTION.check("rate", rate)
            }
            Symptom::ZerosAbove { fraction } => Bounds::FRACTION.check("fraction", fraction),
            Symptom::LossAbove { factor } => Bounds::ABOVE_1.check("factor", factor),
        }?;
        match self.remedy {
            Remedy::Bits { bits } => check_bits(bits),
            Remedy::LearningRate { factor } => Bounds::BETWEEN_0_AND_1.check("factor", factor),
            _ => Ok(()),
        }?;
        let of_layer = matches!(
            self.remedy,
            Remedy::PerChannel | Remedy::Bits { .. } | Remedy::Exclude
        );
        let of_loss = matches!(self.symptom, Symptom::LossAbove { .. });
        let expected = "one of the whole model, as the loss belongs to no layer";
        let found = format!("{:?}", self.remedy);
        OutOfBounds::unless(!(of_layer && of_loss), "the remedy", expected, found)
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
