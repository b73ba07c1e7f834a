use core::fmt;

use crate::quant::GranularityError;

/// Why a model could not be converted.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ConvertError {
    /// No parameter of the model is fake-quantised.
    NotPrepared,
    /// A parameter holds a NaN or infinity.
    NotFinite {
        /// Path of the parameter.
        path: String,
    },
    /// The scheme has codes other than -1, 0 and 1, which are not packed.
    NotTernary,
    /// A weight is not quantized in full yet.
    Lambda {
        /// Path of the parameter.
        path: String,
        /// Share of the quantized value that it trains with.
        lambda: f64,
    },
    /// A weight was trained with another quantizer than that of the scheme.
    OtherScheme {
        /// Path of the parameter.
        path: String,
        /// The quantizer of the scheme.
        expected: String,
        /// What the weight was trained with.
        found: String,
    },
    /// A parameter has an adapter or another reparameterization, which would be lost.
    Reparameterized {
        /// Path of the parameter.
        path: String,
        /// Name of the reparameterization.
        name: String,
    },
    /// A weight has fewer than 2 or more than 5 dimensions.
    Rank {
        /// Path of the parameter.
        path: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The granularity of the scheme does not fit a weight.
    Granularity {
        /// Path of the parameter.
        path: String,
        /// What does not fit.
        source: GranularityError,
    },
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPrepared => write!(
                f,
                "no parameter of the model is fake-quantized: prepare it first"
            ),
            Self::NotFinite { path } => write!(f, "parameter {path} holds a NaN or infinity"),
            Self::NotTernary => write!(
                f,
                "only codes -1, 0 and 1 are packed, and the scheme has others"
            ),
            Self::Lambda { path, lambda } => write!(
                f,
                "parameter {path} is not quantized in full: its lambda is {lambda}, expected 1"
            ),
            Self::OtherScheme {
                path,
                expected,
                found,
            } => write!(
                f,
                "parameter {path} was trained with another scheme: expected {expected}, found {found}"
            ),
            Self::Reparameterized { path, name } => write!(
                f,
                "parameter {path} has the reparameterization {name}: materialize it first"
            ),
            Self::Rank { path, shape } => write!(
                f,
                "parameter {path} has shape {shape:?}, expected 2 to 5 dimensions"
            ),
            Self::Granularity { path, source } => write!(f, "parameter {path}: {source}"),
        }
    }
}

impl core::error::Error for ConvertError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Granularity { source, .. } => Some(source),
            _ => None,
        }
    }
}
