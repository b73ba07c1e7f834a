use core::fmt;

use crate::{qat::PlanError, quant::GranularityError};

/// Why a model could not be prepared.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PrepareError {
    /// No parameter was selected.
    NothingMatched {
        /// The float parameters of the model.
        paths: Vec<String>,
    },
    /// The group that was asked for has no parameter of the model.
    EmptyGroup {
        /// The group.
        group: String,
        /// The float parameters of the model.
        paths: Vec<String>,
    },
    /// Several layers may be the output head.
    AmbiguousHead {
        /// Paths of their weights.
        candidates: Vec<String>,
    },
    /// The model has no parameter of the output head that the caller named.
    UnknownHead {
        /// The name.
        head: String,
        /// The float parameters of the model.
        paths: Vec<String>,
    },
    /// A selected parameter already has a reparameterization; Burn keeps only one.
    AlreadyReparameterized {
        /// Path of the parameter.
        path: String,
        /// Name of its reparameterization.
        name: String,
    },
    /// A selected parameter is quantized by its layer already.
    QuantizedByLayer {
        /// Path of the parameter.
        path: String,
    },
    /// A selected parameter is a step size or offset that a quantizer trains.
    OfQuantizer {
        /// Path of the parameter.
        path: String,
    },
    /// A selected parameter is in several places of the model, for which it would have different
    /// quantizers.
    Shared {
        /// Paths of its places.
        paths: Vec<String>,
    },
    /// A selected parameter has no input and output features.
    Rank {
        /// Path of the parameter.
        path: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The granularity of the scheme does not fit a selected parameter.
    Granularity {
        /// Path of the parameter.
        path: String,
        /// Its shape.
        shape: Vec<usize>,
        /// What does not fit.
        source: GranularityError,
    },
    /// The plan has layers that are not selected, or that the model does not have.
    Plan(PlanError),
}

impl fmt::Display for PrepareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingMatched { paths } if paths.is_empty() => {
                write!(f, "the model has no float parameters")
            }
            Self::NothingMatched { paths } => write!(
                f,
                "no parameter was selected for quantization, the model has: {}; embeddings, vectors \
                 and the output head stay in float unless a group has them",
                paths.join(", ")
            ),
            Self::EmptyGroup { group, paths } => write!(
                f,
                "no parameter of the model is in the group {group}, the model has: {}",
                paths.join(", ")
            ),
            Self::AmbiguousHead { candidates } => write!(
                f,
                "the output head may be {}: name it by `with_output_head`, or say that there is none \
                 by `without_output_head`",
                candidates.join(" or ")
            ),
            Self::UnknownHead { head, paths } => write!(
                f,
                "the model has no module or parameter `{head}` for its output head, it has: {}",
                paths.join(", ")
            ),
            Self::AlreadyReparameterized { path, name } => write!(
                f,
                "parameter {path} already has the reparameterization `{name}`, and a parameter \
                 holds only one"
            ),
            Self::QuantizedByLayer { path } => {
                write!(f, "parameter {path} is quantized by its layer already")
            }
            Self::OfQuantizer { path } => write!(
                f,
                "parameter {path} belongs to a quantizer, which trains it in float"
            ),
            Self::Shared { paths } => write!(
                f,
                "{} are one parameter, which has one quantizer, and theirs would differ",
                paths.join(" and ")
            ),
            Self::Rank { path, shape } => write!(
                f,
                "parameter {path} of shape {shape:?} cannot be quantized: a weight has two \
                 dimensions or more"
            ),
            Self::Granularity {
                path,
                shape,
                source,
            } => write!(f, "parameter {path} of shape {shape:?}: {source}"),
            Self::Plan(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for PrepareError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Granularity { source, .. } => Some(source),
            Self::Plan(error) => Some(error),
            _ => None,
        }
    }
}
