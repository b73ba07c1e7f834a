use core::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    base::{
        bits::check_bits,
        bounds::{Bounds, OutOfBounds},
    },
    qat::QuantizationError,
};

/// Rule that applies a remedy when a layer, or the loss, shows a symptom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MitigationRule {
    /// Symptom to detect.
    pub symptom: Symptom,
    /// Number of consecutive measurements that must show it, 1 or more.
    #[serde(default = "once")]
    pub patience: usize,
    /// Remedy to apply.
    pub remedy: Remedy,
}

fn once() -> usize {
    1
}

/// Indication of harmful quantization.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Symptom {
    /// The SQNR of a quantizer is below a limit.
    SqnrBelow {
        /// Limit in dB.
        db: f64,
    },
    /// The fraction of values beyond the range of a quantizer is above a limit.
    ClippingAbove {
        /// Fraction of the values, 0 to 1.
        rate: f64,
    },
    /// The fraction of codes of a weight that changed since the last measurement is above a limit.
    FlipsAbove {
        /// Fraction of the codes, 0 to 1.
        rate: f64,
    },
    /// The fraction of quantized values that are zero is above a limit.
    ZerosAbove {
        /// Fraction of the values, 0 to 1.
        fraction: f64,
    },
    /// The training loss is above a multiple of its minimum so far, or is NaN.
    LossAbove {
        /// Multiple, above 1.
        factor: f64,
    },
}

/// Remedy for a [`Symptom`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Remedy {
    /// One scale per output channel of the weight.
    PerChannel,
    /// More bits, for the weight or the activation.
    Bits {
        /// Number of bits, 2 to 8.
        bits: u8,
    },
    /// The quantizer leaves its values in float.
    Exclude,
    /// The learning rate is multiplied by a factor.
    LearningRate {
        /// Factor, above 0 and below 1.
        factor: f64,
    },
    /// The model and the optimizer are restored from the last checkpoint.
    RollBack,
}

impl Symptom {
    /// Returns the measured value in the report of a quantizer, if it is beyond the threshold.
    pub(super) fn of_layer(&self, error: &QuantizationError) -> Option<f64> {
        match *self {
            // Without an SQNR there is nothing to compare: all values are zero, or are represented
            // exactly.
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
    /// Checks the values, and that the remedy applies to the symptom.
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
