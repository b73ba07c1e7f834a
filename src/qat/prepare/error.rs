use crate::{qat::PlanError, quant::GranularityError};

/// Error when a model cannot be prepared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The scheme quantizes or rotates activations, which stay in float in a prepared model.
    #[error(
        "activations stay in float in a prepared model, and the scheme is {scheme}: take \
         `QatScheme::weight_only`, or `BitLinear` layers"
    )]
    Activations {
        /// The scheme.
        scheme: String,
    },
    /// No parameter was selected.
    #[error("{}", nothing_matched(.paths))]
    NothingMatched {
        /// The float parameters of the model.
        paths: Vec<String>,
    },
    /// The given group has no parameter of the model.
    #[error(
        "no parameter of the model is in the group {group}, the model has: {}",
        .paths.join(", ")
    )]
    EmptyGroup {
        /// The group.
        group: String,
        /// The float parameters of the model.
        paths: Vec<String>,
    },
    /// Several layers may be the output head.
    #[error(
        "the output head may be {}: name it by `with_output_head`, or say that there is none by \
         `without_output_head`",
        .candidates.join(" or ")
    )]
    AmbiguousHead {
        /// Paths of their weights.
        candidates: Vec<String>,
    },
    /// The model has no parameter of the given output head.
    #[error(
        "the model has no module or parameter `{head}` for its output head, it has: {}",
        .paths.join(", ")
    )]
    UnknownHead {
        /// The name.
        head: String,
        /// The float parameters of the model.
        paths: Vec<String>,
    },
    /// A selected parameter already has a reparameterization; Burn keeps only one.
    #[error(
        "parameter {path} already has the reparameterization `{name}`, and a parameter holds only \
         one"
    )]
    AlreadyReparameterized {
        /// Path of the parameter.
        path: String,
        /// Name of its reparameterization.
        name: String,
    },
    /// A selected parameter is already quantized by its layer.
    #[error("parameter {path} is quantized by its layer already")]
    QuantizedByLayer {
        /// Path of the parameter.
        path: String,
    },
    /// A selected parameter is a step size or offset that a quantizer trains.
    #[error("parameter {path} belongs to a quantizer, which trains it in float")]
    OfQuantizer {
        /// Path of the parameter.
        path: String,
    },
    /// A selected parameter is in several places of the model, which would have different quantizers.
    #[error(
        "{} are one parameter, which has one quantizer, and theirs would differ",
        .paths.join(" and ")
    )]
    Shared {
        /// Paths of its places.
        paths: Vec<String>,
    },
    /// A selected parameter has no input and output features.
    #[error(
        "parameter {path} of shape {shape:?} cannot be quantized: a weight has two dimensions or \
         more"
    )]
    Rank {
        /// Path of the parameter.
        path: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The granularity of the scheme does not fit a selected parameter.
    #[error("parameter {path} of shape {shape:?}: {source}")]
    Granularity {
        /// Path of the parameter.
        path: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The reason.
        source: GranularityError,
    },
    /// The plan has layers that are not selected, or not in the model.
    #[error("{0}")]
    Plan(#[source] PlanError),
}

fn nothing_matched(paths: &[String]) -> String {
    match paths {
        [] => "the model has no float parameters".to_string(),
        paths => format!(
            "no parameter was selected for quantization, the model has: {}; embeddings, vectors \
             and the output head stay in float unless a group has them",
            paths.join(", ")
        ),
    }
}
