use crate::quant::GranularityError;

/// Error when a model cannot be converted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// No parameter of the model is fake-quantised.
    #[error("no parameter of the model is fake-quantized: prepare it first")]
    NotPrepared,
    /// A parameter holds a NaN or infinity.
    #[error("parameter {path} holds a NaN or infinity")]
    NotFinite {
        /// Path of the parameter.
        path: String,
    },
    /// The scheme has codes other than -1, 0 and 1, which are not packed.
    #[error("only codes -1, 0 and 1 are packed, and the scheme has others")]
    NotTernary,
    /// A weight is not quantized in full yet.
    #[error("parameter {path} is not quantized in full: its lambda is {lambda}, expected 1")]
    Lambda {
        /// Path of the parameter.
        path: String,
        /// Share of the quantized value that it trains with.
        lambda: f64,
    },
    /// A weight was trained with another quantizer than that of the scheme.
    #[error("parameter {path} was trained with another scheme: expected {expected}, found {found}")]
    OtherScheme {
        /// Path of the parameter.
        path: String,
        /// The quantizer of the scheme.
        expected: String,
        /// What the weight was trained with.
        found: String,
    },
    /// A parameter has an adapter or another reparameterization, which would be lost.
    #[error("parameter {path} has the reparameterization {name}: materialize it first")]
    Reparameterized {
        /// Path of the parameter.
        path: String,
        /// Name of the reparameterization.
        name: String,
    },
    /// A weight has fewer than 2 or more than 5 dimensions.
    #[error("parameter {path} has shape {shape:?}, expected 2 to 5 dimensions")]
    Rank {
        /// Path of the parameter.
        path: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The granularity of the scheme does not fit a weight.
    #[error("parameter {path}: {source}")]
    Granularity {
        /// Path of the parameter.
        path: String,
        /// What does not fit.
        source: GranularityError,
    },
}
