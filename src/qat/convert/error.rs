use crate::quant::GranularityError;

/// Error when a model cannot be converted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// No weight of the model is quantized.
    #[error("no parameter of the model is fake-quantized: prepare it first")]
    NotPrepared,
    /// A parameter holds a NaN or infinity.
    #[error("parameter {path} holds a NaN or infinity")]
    NotFinite {
        /// Path of the parameter.
        path: String,
    },
    /// No weight has codes of -1, 0 and 1, the only ones that can be packed.
    #[error("only codes -1, 0 and 1 are packed, and no weight of the model has them")]
    NotTernary,
    /// A weight is not fully quantized yet.
    #[error("parameter {path} is not quantized in full: its lambda is {lambda}, expected 1")]
    Lambda {
        /// Path of the parameter.
        path: String,
        /// Share of the quantized value in its training.
        lambda: f64,
    },
    /// A parameter has an adapter or another reparameterization, which would be lost.
    #[error("parameter {path} has the reparameterization {name}: materialize it first")]
    Reparameterized {
        /// Path of the parameter.
        path: String,
        /// Name of the reparameterization.
        name: String,
    },
    /// The granularity of the scheme does not fit a weight.
    #[error("parameter {path}: {source}")]
    Granularity {
        /// Path of the parameter.
        path: String,
        /// The reason.
        source: GranularityError,
    },
}
