use crate::base::bounds::OutOfBounds;

/// Error of an adapter that does not fit its configuration or its model.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PeftError {
    /// A value of the configuration is out of its bounds.
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
    /// A regular expression cannot be read.
    #[error("{field} is not a regular expression of Rust's regex crate: {message}")]
    Pattern {
        /// Field of the configuration.
        field: &'static str,
        /// Message of the parser.
        message: String,
    },
    /// Layers were chosen for targets that are not a list of names.
    #[error(
        "layers_to_transform chooses layers of a list of target_modules, which are {targets} here: \
         put the layers into the regular expression"
    )]
    LayersOfPattern {
        /// The target modules.
        targets: String,
    },
    /// The feed-forward modules of (IA)³ are not among its targets.
    #[error("feedforward_modules must be {expected}, got {found}")]
    FeedForward {
        /// The feed-forward modules.
        found: String,
        /// What they may be.
        expected: String,
    },
    /// No module has a name that the configuration targets.
    #[error("target_modules {targets} match no projection of the model, which has {modules}")]
    NoMatch {
        /// The target modules.
        targets: String,
        /// Last names of the projections of the model.
        modules: String,
    },
    /// A method other than LoRA targets the token embedding or the output head.
    #[error(
        "{module} can have an adapter of LoRA or rsLoRA alone, and the configuration has {method}"
    )]
    MethodOfEnd {
        /// The embedding or the head.
        module: &'static str,
        /// The configuration, in words.
        method: String,
    },
    /// There is an adapter of this name already.
    #[error("the model has an adapter {name:?} already: delete it or choose another name")]
    Exists {
        /// Name of the adapter.
        name: String,
    },
    /// There is no adapter of this name.
    #[error("the model has no adapter {name:?}; it has {adapters:?}")]
    Unknown {
        /// Name that was asked for.
        name: String,
        /// Names of the adapters of the model.
        adapters: Vec<String>,
    },
    /// A model has a prompt already.
    #[error(
        "the model has the prompt {existing:?}, and {name:?} would stand before the same tokens: delete the first"
    )]
    PromptExists {
        /// Name of the new prompt.
        name: String,
        /// Name of the prompt of the model.
        existing: String,
    },
    /// A prompt leaves no position for a token.
    #[error(
        "{num_virtual_tokens} virtual tokens leave no position for others in a model of {max_positions} positions"
    )]
    PromptLength {
        /// Number of virtual tokens.
        num_virtual_tokens: usize,
        /// Number of positions of the model.
        max_positions: usize,
    },
    /// A prompt is one of a model of another size.
    #[error("{field} of the prompt is {found}, and that of the model {expected}")]
    PromptSize {
        /// Field of the configuration.
        field: &'static str,
        /// What it has.
        found: usize,
        /// What the model has.
        expected: usize,
    },
    /// An initialization changes the base weight, which this base cannot.
    #[error(
        "{module}: init {init} subtracts the adapter from the base weight, which is {base} here and would be \
         rounded: choose kaiming, gaussian or orthogonal"
    )]
    FixedBase {
        /// Name of the module.
        module: String,
        /// Name of the initialization.
        init: String,
        /// Kind of the base.
        base: &'static str,
    },
    /// A module is to be trained as a whole whose weight does not train.
    #[error("modules_to_save: the weight of {module} is {base} here and does not train")]
    FixedModule {
        /// Name of the module.
        module: String,
        /// Kind of the base.
        base: &'static str,
    },
    /// The embedding table or the output head cannot have an adapter of this kind.
    #[error("{module}: {what} of it is not supported")]
    UnsupportedEnd {
        /// Name of the module.
        module: &'static str,
        /// What was asked for.
        what: String,
    },
    /// Adapters have no weighted sum.
    #[error("{module}: {reason}")]
    NoSum {
        /// Name of the module.
        module: String,
        /// Reason.
        reason: String,
    },
    /// LoftQ was asked for a base that exists already.
    #[error(
        "init loftq quantizes a model in full precision: BitNetLm::with_loftq adds the adapter"
    )]
    Loftq,
    /// A configuration of a prompt was asked for the adapter of a projection.
    #[error("a prompt stands before the tokens of a model, not beside a projection")]
    PromptOfProjection,
    /// No AdaLoRA adapter trains.
    #[error("no AdaLoRA adapter of the model trains: add one with an AdaLoraConfig")]
    NoDirections,
    /// The state of a rank allocation belongs to a model with other adapters.
    #[error(
        "the state of the rank allocation is of other adapters than those that train: they differ at {path}"
    )]
    OtherDirections {
        /// Path of the adapter or of one of its factors.
        path: String,
    },
}
