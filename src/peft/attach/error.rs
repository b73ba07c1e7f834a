use burn::tensor::DType;

use crate::peft::PeftError;

/// Error when adapters cannot be attached to the weights of a model, merged or detached.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The configuration is invalid, or does not fit a weight.
    #[error(transparent)]
    Config(#[from] PeftError),
    /// The configuration has a dropout.
    #[error(
        "dropout {dropout} acts on the input of an adapter, and an attached adapter sees only the weight: set it \
         to 0"
    )]
    Dropout {
        /// Probability of the configuration.
        dropout: f64,
    },
    /// No `Linear` has a name that the configuration targets.
    #[error("target_modules {targets} match no `Linear` of the model, which has {}", list(.linears))]
    NoMatch {
        /// The target modules.
        targets: String,
        /// Names of the `Linear` modules of the model.
        linears: Vec<String>,
    },
    /// A targeted module is no `Linear`.
    #[error(
        "target_modules match {module}, which is no `Linear` but a `{kind}`: only weights of `Linear` are adapted, \
         exclude it"
    )]
    NotLinear {
        /// Name of the module.
        module: String,
        /// Type of the module.
        kind: String,
    },
    /// A targeted weight already has a reparameterization that adapters do not combine with.
    #[error(
        "parameter {path} already has the reparameterization `{name}`, and a parameter holds only one"
    )]
    AlreadyReparameterized {
        /// Path of the parameter.
        path: String,
        /// Name of its reparameterization.
        name: String,
    },
    /// A targeted weight is in several places of the model, of which an optimizer updates one.
    #[error(
        "{} are one parameter: Burn's optimizers would update its adapter in one of these places only",
        .paths.join(" and ")
    )]
    Shared {
        /// Paths of its places.
        paths: Vec<String>,
    },
    /// A targeted weight is stored in codes of Burn.
    #[error("parameter {path} is of type {dtype:?}: adapters are attached to weights in float")]
    Packed {
        /// Path of the parameter.
        path: String,
        /// Its type.
        dtype: DType,
    },
    /// A reparameterization elsewhere in the model would be lost.
    #[error(
        "parameter {path} has the reparameterization `{name}`: Burn takes reparameterizations off all parameters \
         of a model at once, and this one cannot be put back"
    )]
    Foreign {
        /// Path of the parameter.
        path: String,
        /// Name of its reparameterization.
        name: String,
    },
    /// The model has no attached adapter.
    #[error("no parameter of the model has an attached adapter")]
    NotAttached,
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_string(),
        names => names.join(", "),
    }
}
