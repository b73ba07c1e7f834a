mod adapted_weight;
mod adapting;
mod bare;
mod detach;
mod error;
mod linears;
mod quantized_part;
mod trained;

use std::collections::HashMap;

use burn::module::{Module, ParamGroup};

use super::{AdaptedModule, AdapterReport, LoraConfig};
use crate::qat::{FakeQuant, Inventory, parameter_quantizers};

pub use adapted_weight::AdaptedWeight;
pub use detach::{detach_adapters, merge_adapters};
pub use error::AttachError;
pub use quantized_part::QuantizedPart;

use adapting::Adapting;
use bare::{Requantize, Values, bare};
use linears::{LinearWeight, Targeted, targeted};
use trained::Trained;

/// Attaches LoRA, rsLoRA or DoRA adapters to the weights of any Burn model, without a change to its code.
///
/// Each targeted weight gets one [`AdaptedWeight`], so that its layer reads `W + s A B`. All other parameters are
/// frozen, except for the biases and modules that the configuration trains; training flags, such as those of
/// dropout and batch normalization, are left unchanged.
///
/// # Targets
///
/// Targets are the weights of modules of the type `Linear`, also in Burn's attention, transformer, feed-forward and
/// recurrent modules: fields `weight` of rank 2. The name of a module is its path in the model, such as
/// `layers.0.fc`; names match as in [`Targets`](super::Targets). `all-linear` is all of them, an output head, too:
/// exclude it by name. Embeddings, convolutions, norms, layers that quantize their weight, such as
/// [`BitLinear`](crate::nn::BitLinear), and other modules with parameters of rank 2 are not adapted, and are errors
/// if a list or pattern matches their name.
///
/// # Prepared models
///
/// A weight with a fake quantizer ([`Prepare`](crate::qat::Prepare)) keeps it: Burn holds one reparameterization
/// for a parameter, so both are in the `AdaptedWeight`, which quantizes a [`QuantizedPart`]. Its
/// [controls](crate::qat::QuantControls) stay connected. Trained step sizes are frozen; train them by
/// [`quantizer_parameters`](crate::qat::quantizer_parameters). A weight with an adapter cannot be prepared.
///
/// # Memory
///
/// The dense `W + s A B` is formed in each forward pass, and kept for the gradient of the input until the backward
/// pass of its layer: 4 bytes for each value of all adapted weights, 8 with DoRA, which keeps the matrix before
/// its norms, too. Its gradient is as large, for one layer at a time. What stays, gradients and optimizer states, is
/// that of the factors. For a [`BitNetLm`](crate::nn::BitNetLm),
/// [`with_adapter`](crate::nn::BitNetLm::with_adapter) forms no such matrix.
///
/// # Records
///
/// A record of the model has the adapters; one of the group [`trained`](Attached::trained) has nothing else, and is
/// loaded into a model adapted with the same configuration, with
/// [`allow_partial`](burn::store::ModuleRecord::allow_partial). Burn 0.22 loads the weight of a `Linear` in column layout
/// only before its first use, which is here: load a record of the base first, and one of the adapters after.
///
/// # Example
///
/// ```
/// use bitnet_burn::peft::{Attach, LoraConfig, TargetModules, merge_adapters};
/// use burn::{module::Module, nn::{Linear, LinearConfig}, tensor::Device};
///
/// #[derive(Module, Debug)]
/// struct Mlp {
///     fc: Linear,
///     head: Linear,
/// }
///
/// let device = Device::default().autodiff();
/// let linear = |d_input, d_output| LinearConfig::new(d_input, d_output).init(&device);
/// let mlp = Mlp { fc: linear(16, 32), head: linear(32, 4) };
/// let lora = LoraConfig::new(2).with_targets(TargetModules::names(["fc"]));
/// let attached = Attach::new(lora).apply(mlp)?;
/// println!("{}", attached.report);
/// assert_eq!(attached.report.num_trainable, 2 * (16 + 32));
/// let merged = merge_adapters(attached.model)?;
/// assert_eq!(merged.num_params(), 16 * 32 + 32 + 32 * 4 + 4);
/// # Ok::<(), bitnet_burn::peft::AttachError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Attach {
    config: LoraConfig,
    part: QuantizedPart,
}

/// An adapted model and its report.
#[derive(Debug, Clone)]
pub struct Attached<M> {
    /// The model, whose targeted weights have adapters.
    pub model: M,
    /// Modules that got an adapter, and the parameters that train.
    pub report: AdapterReport,
    /// The parameters that train, with the scales of the adapters: the group of a record that holds only what differs
    /// from the base model ([`Module::into_record_group`]).
    pub trained: ParamGroup,
}

impl Attach {
    /// Creates the method of a configuration.
    pub fn new(config: LoraConfig) -> Self {
        let part = QuantizedPart::default();
        Self { config, part }
    }

    /// Sets the part of a weight that its fake quantizer quantizes.
    #[must_use]
    pub fn with_quantized_part(mut self, part: QuantizedPart) -> Self {
        self.part = part;
        self
    }

    /// Attaches adapters to the weights that the configuration targets, and freezes all other parameters.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid or has a dropout, targets no `Linear` or modules of another type, an
    /// initialization would change a quantized weight, or a targeted weight is shared, packed, or has another
    /// reparameterization.
    pub fn apply<M: Module>(&self, model: M) -> Result<Attached<M>, AttachError> {
        self.config.validate()?;
        if self.config.dropout > 0.0 {
            let dropout = self.config.dropout;
            return Err(AttachError::Dropout { dropout });
        }
        let inventory = Inventory::of(&model);
        let Targeted { weights, unmatched } = targeted(&inventory, &self.config)?;
        let model = model.set_require_grad(false);
        let (model, quantizers) = without_quantizers(model, &inventory, &weights)?;

        let method = self.describe(!quantizers.is_empty());
        let modules = weights.iter();
        let modules = modules.map(|w| (w.parameter.path.clone(), w.module.clone()));
        let mut adapted = Vec::new();
        let mut result = Ok(());
        let model = model.apply_reparameterization(Adapting {
            config: &self.config,
            part: self.part,
            compiled: self.config.compile()?,
            modules: modules.collect(),
            quantizers,
            adapted: &mut adapted,
            result: &mut result,
        });
        result?;
        Ok(self.train(model, method, adapted, unmatched))
    }

    /// Returns the method in words.
    fn describe(&self, quantized: bool) -> String {
        let part = match (quantized, self.part) {
            (false, _) => "",
            (true, QuantizedPart::Base) => ", beside quantized weights",
            (true, QuantizedPart::Sum) => ", quantized with its weights",
        };
        format!("{}{part}", self.config)
    }

    /// Unfreezes what the configuration trains.
    fn train<M: Module>(
        &self,
        model: M,
        method: String,
        modules: Vec<AdaptedModule>,
        mut unmatched: Vec<String>,
    ) -> Attached<M> {
        let trained = Trained::of(&model, &self.config);
        unmatched.extend(trained.unmatched);
        let train = ParamGroup::from_paths(trained.paths.clone());
        let model = model.set_require_grad_group(train, true);
        let report = AdapterReport {
            method,
            modules,
            unmatched,
            num_trainable: trained.num_params,
            num_params: model.num_params(),
        };
        let paths = [trained.paths, trained.settings].concat();
        Attached {
            model,
            report,
            trained: ParamGroup::from_paths(paths),
        }
    }
}

/// Takes the fake quantizers of weights off: returns the model, in which other weights keep theirs, and the
/// quantizers by the paths of the weights.
fn without_quantizers<M: Module>(
    model: M,
    inventory: &Inventory,
    weights: &[LinearWeight<'_>],
) -> Result<(M, HashMap<String, FakeQuant>), AttachError> {
    let is_adapted = |path: &String| weights.iter().any(|w| w.parameter.path == *path);
    let quantizers = parameter_quantizers(&model).into_iter();
    let quantizers = quantizers.map(|q| (q.parameter, q.fake_quant));
    let (own, others): (HashMap<_, _>, HashMap<_, _>) =
        quantizers.partition(|(path, _)| is_adapted(path));
    if own.is_empty() {
        return Ok((model, own));
    }
    let model = bare(model, inventory, Values::default())?;
    Ok((model.apply_reparameterization(Requantize(others)), own))
}
