mod error;
mod output_head;
mod outputs;
mod report;
mod shared;

use std::collections::HashMap;

use burn::{
    module::{Module, Param, ParamGroup, ParamId, Reparameterizer},
    tensor::Tensor,
};

use super::{
    FakeQuant, MixedPrecisionPlan, Precision,
    control::layer_of,
    parameters::{Inventory, Parameter, Role},
};
use crate::{
    base::bounds::assert_valid,
    quant::{QatScheme, WeightGranularity, WeightQuantizer},
};

pub use error::PrepareError;
pub use report::{Decision, PrepareReport};

use output_head::Head;
use report::{ParameterReport, kind_of_vector};

/// Prepares any Burn model for training with fake-quantized weights, without a change to its code.
///
/// By default all float parameters of rank 2 or more are quantized, except those of embeddings (modules
/// named `Embedding`) and of the output head. Norms and biases have rank 1. With
/// [`with_group`](Self::with_group) exactly the parameters of the group are quantized.
///
/// # The output head
///
/// Only the fields of a model, their types, the shapes of its weights and their order are known, not the
/// data flow. [`with_output_head`](Self::with_output_head) names the head, and
/// [`without_output_head`](Self::without_output_head) declares that there is none. Otherwise:
///
/// 1. Layers inside Burn's attention, transformer, feed-forward and recurrent modules, inside the blocks
///    of [`BitNetLm`](crate::nn::BitNetLm), and inside lists of blocks with equal input and output width are
///    never the head, under any name.
/// 2. In each field of the model, the last layer may give outputs; in the last field, so may the last layer
///    of each of its own fields. A model with one field is treated as that field. In a list of single layers,
///    each may give outputs.
/// 3. Fields among these that are called `head`, `heads`, `lm_head`, `classifier` or end with `_head` are
///    the head, with all their weights. Only whole names of such fields count. Another output with the same
///    inputs that no layer takes makes the head ambiguous, unless the field declared last is called the head.
/// 4. Without such names, the head is the last weight in declaration order if that is among these layers.
///    Another layer whose outputs fit the inputs of no layer, alone or joined with those of its neighbors,
///    makes the head ambiguous, unless the last layer is called `fc`, `output`, `out` or `logits`.
/// 5. If layers of 1. are declared last, the head is the only layer whose outputs fit the inputs of no layer,
///    or the only one called `fc`, `output`, `out` or `logits`; without such a layer, there is no head.
///
/// A model with a single weight has no head. A head that cannot be distinguished from others is
/// [`PrepareError::AmbiguousHead`]. The report names the rule that decided. Check it: two heads with shapes
/// that could follow each other look like two layers.
///
/// # Shared parameters
///
/// A parameter in several places of a model, such as an embedding table that is also the weight of another
/// layer, is one parameter. If it stays in float in one place, it does in all; otherwise all places have
/// one quantizer, with one [control](super::QuantControls). The report lists the places where each is
/// shared. Places that would have different quantizers are
/// [`PrepareError::Shared`]. (The optimizers of Burn 0.22 update a shared parameter only at its first place,
/// so that its places differ after the first step: keep it in one module, and call that.)
///
/// # Layers that quantize
///
/// The weights of layers that quantize them, such as [`BitLinear`](crate::nn::BitLinear), and the
/// parameters of their quantizers are left unchanged, and are errors in a group.
///
/// # Clones
///
/// Clones of a prepared model share the settings of [`QuantControls`](super::QuantControls), until one is
/// [detached](super::detach_controls).
///
/// # Activations
///
/// Activations stay in float: a reparameterization applies to the weight only. To quantize activations, use
/// [`BitLinear`](crate::nn::BitLinear).
///
/// # Example
///
/// ```
/// use bitnet_burn::{qat::Prepare, quant::QatScheme};
/// use burn::{nn::LinearConfig, module::ParamGroup, tensor::Device};
///
/// let layer = LinearConfig::new(64, 32).init(&Device::default());
/// let prepared = Prepare::new(QatScheme::weight_only())
///     .with_group(ParamGroup::from_path("weight"))
///     .apply(layer)
///     .unwrap();
/// println!("{}", prepared.report);
/// let layer = prepared.model;
/// # assert_eq!(prepared.report.num_quantized(), 1);
/// ```
#[derive(Debug, Clone)]
pub struct Prepare {
    scheme: QatScheme,
    group: Option<ParamGroup>,
    plan: Option<MixedPrecisionPlan>,
    /// Names of the output head; `None` to search for it.
    output_head: Option<Vec<String>>,
}

/// A prepared model and its report.
#[derive(Debug, Clone)]
pub struct Prepared<M> {
    /// The model, whose selected weights are fake-quantized.
    pub model: M,
    /// The decision for each parameter.
    pub report: PrepareReport,
}

impl Prepare {
    /// Creates a preparation with the weight quantizer and estimator of `scheme`.
    ///
    /// # Panics
    ///
    /// If a value of the scheme is out of its range.
    #[track_caller]
    pub fn new(scheme: QatScheme) -> Self {
        assert_valid(scheme.validate());
        Self {
            scheme,
            group: None,
            plan: None,
            output_head: None,
        }
    }

    /// Quantizes each selected weight with the plan's precision for its layer, the module that holds it, or
    /// by the scheme if its layer is not in the plan.
    #[must_use]
    pub fn with_plan(mut self, plan: MixedPrecisionPlan) -> Self {
        self.plan = Some(plan);
        self
    }

    /// Selects exactly the parameters of `group` instead of the default selection.
    #[must_use]
    pub fn with_group(mut self, group: ParamGroup) -> Self {
        self.group = Some(group);
        self
    }

    /// Leaves the parameters of these modules in float as the output head, instead of searching for it. A
    /// name is the whole path of a module or parameter, such as `heads.policy`. With a group, they are
    /// removed from the group.
    ///
    /// # Example
    ///
    /// ```
    /// use bitnet_burn::{qat::{Prepare, PrepareError}, quant::QatScheme};
    /// use burn::{module::Module, nn::{Linear, LinearConfig}, tensor::Device};
    ///
    /// #[derive(Module, Debug)]
    /// struct ActorCritic {
    ///     body: Linear,
    ///     policy: Linear,
    ///     value: Linear,
    /// }
    ///
    /// let linear = |d_input, d_output| LinearConfig::new(d_input, d_output).init(&Device::default());
    /// let model = ActorCritic { body: linear(8, 64), policy: linear(64, 4), value: linear(64, 1) };
    /// let prepare = Prepare::new(QatScheme::weight_only());
    /// let error = prepare.apply(model.clone()).unwrap_err();
    /// assert!(matches!(error, PrepareError::AmbiguousHead { .. }));
    /// let prepared = prepare.with_output_head(["policy", "value"]).apply(model).unwrap();
    /// assert_eq!(prepared.report.num_quantized(), 1);
    /// ```
    #[must_use]
    pub fn with_output_head<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.output_head = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Quantizes the last layers, too, for a model that is the body of another, or whose outputs are to be in
    /// low precision.
    #[must_use]
    pub fn without_output_head(self) -> Self {
        self.with_output_head::<String>([])
    }

    /// Attaches fake quantization to the selected parameters.
    ///
    /// # Errors
    ///
    /// If the output head is ambiguous or not in the model, nothing was selected, the places of a shared
    /// parameter differ in their quantizer, or a selected parameter already has a reparameterization, is
    /// quantized by its layer, belongs to a quantizer, has less than two dimensions, or does not fit the
    /// granularity.
    pub fn apply<M: Module>(&self, model: M) -> Result<Prepared<M>, PrepareError> {
        if self.scheme.activation.is_some() || self.scheme.rotation.is_some() {
            let scheme = self.scheme.to_string();
            return Err(PrepareError::Activations { scheme });
        }
        let inventory = Inventory::of(&model);
        let head = self.head(&inventory)?;
        let mut decisions = self.decide(&inventory, &head);
        self.follow_plan(&inventory, &mut decisions)?;
        let mut report = report(&inventory, decisions, head.rule);
        shared::join(&inventory, &mut report);
        self.check_any(&report)?;
        shared::check(&inventory, &report, |parameter| {
            self.quantizer_of(parameter)
        })?;

        let mut selected = HashMap::new();
        for (parameter, decided) in inventory.parameters.iter().zip(&report.parameters) {
            if decided.decision == Decision::Quantized {
                let scheme = self.scheme_of(parameter);
                check(parameter, &scheme)?;
                selected.insert(parameter.id, (scheme, parameter.output_axis()));
            }
        }
        let model = model.apply_reparameterization(Attach {
            selected,
            attached: HashMap::new(),
        });
        Ok(Prepared { model, report })
    }

    fn head(&self, inventory: &Inventory) -> Result<Head, PrepareError> {
        match (&self.output_head, &self.group) {
            (Some(names), _) => Head::chosen(inventory, names),
            (None, Some(_)) => Ok(Head::none("a group was given")),
            (None, None) => Head::find(inventory),
        }
    }

    fn decide(&self, inventory: &Inventory, head: &Head) -> Vec<Decision> {
        let decide = |parameter: &Parameter| {
            let selected = self.group.as_ref();
            let selected =
                selected.map(|group| group.matches(&parameter.id, Some(&parameter.path)));
            let is_head = head.paths.contains(&parameter.path);
            let by_layer = parameter.is_latent() && parameter.reparameterization.is_none();
            match selected {
                Some(false) => Decision::NotSelected,
                None if by_layer => Decision::QuantizedByLayer,
                None if matches!(parameter.role, Role::OfQuantizer) => Decision::OfQuantizer,
                _ if is_head && parameter.is_weight() => Decision::OutputHead,
                Some(true) => Decision::Quantized,
                None if parameter.shape.len() < 2 => Decision::Vector,
                None if parameter.container == "Embedding" => Decision::Embedding,
                None => Decision::Quantized,
            }
        };
        inventory.parameters.iter().map(decide).collect()
    }

    /// Rejects an empty selection.
    fn check_any(&self, report: &PrepareReport) -> Result<(), PrepareError> {
        if report.num_quantized() > 0 {
            return Ok(());
        }
        let parameters = &report.parameters;
        let paths = parameters.iter().map(|p| p.path.clone()).collect();
        let selected = parameters
            .iter()
            .any(|p| p.decision != Decision::NotSelected);
        Err(match &self.group {
            Some(group) if !selected => PrepareError::EmptyGroup {
                group: format!("{group:?}"),
                paths,
            },
            _ => PrepareError::NothingMatched { paths },
        })
    }

    /// Deselects the layers that the plan leaves in float.
    fn follow_plan(
        &self,
        inventory: &Inventory,
        decisions: &mut [Decision],
    ) -> Result<(), PrepareError> {
        let Some(plan) = &self.plan else {
            return Ok(());
        };
        let parameters = || inventory.parameters.iter().enumerate();
        let selected = parameters().filter(|(i, _)| decisions[*i] == Decision::Quantized);
        let layers: Vec<String> = selected
            .map(|(_, parameter)| layer_of(&parameter.path).to_string())
            .collect();
        plan.check(&layers).map_err(PrepareError::Plan)?;
        for (i, parameter) in parameters() {
            let planned = plan.layers.get(layer_of(&parameter.path));
            if decisions[i] == Decision::Quantized && planned == Some(&Precision::Float) {
                decisions[i] = Decision::PlannedFloat;
            }
        }
        Ok(())
    }

    /// Returns the values that the quantizer of a parameter depends on.
    fn quantizer_of(&self, parameter: &Parameter) -> (WeightQuantizer, Option<usize>) {
        let quantizer = self.scheme_of(parameter).weight;
        // One scale for the whole weight is the same along each dimension.
        let per_tensor = quantizer.granularity() == WeightGranularity::PerTensor;
        let output_axis = (!per_tensor).then(|| parameter.output_axis());
        (quantizer, output_axis)
    }

    /// Returns the scheme of a parameter, by the plan.
    fn scheme_of(&self, parameter: &Parameter) -> QatScheme {
        let scheme = self.scheme.clone();
        let plan = self.plan.as_ref();
        let planned = plan.and_then(|plan| plan.layers.get(layer_of(&parameter.path)));
        match planned {
            Some(Precision::Bits(bits)) => {
                let granularity = scheme.weight.granularity();
                scheme.with_weight(WeightQuantizer::symmetric(*bits).with_granularity(granularity))
            }
            _ => scheme,
        }
    }
}

fn report(inventory: &Inventory, decisions: Vec<Decision>, head: String) -> PrepareReport {
    let reason = |parameter: &Parameter, decision| match decision {
        Decision::Vector => kind_of_vector(parameter).to_string(),
        Decision::OutputHead => head.to_string(),
        _ => String::new(),
    };
    let parameters = inventory.parameters.iter().zip(decisions);
    let parameters = parameters.map(|(parameter, decision)| ParameterReport {
        path: parameter.path.clone(),
        shape: parameter.shape.clone(),
        decision,
        reason: reason(parameter, decision),
        shared_with: Vec::new(),
    });
    PrepareReport {
        parameters: parameters.collect(),
        head,
    }
}

fn check(parameter: &Parameter, scheme: &QatScheme) -> Result<(), PrepareError> {
    let (path, shape) = (parameter.path.clone(), parameter.shape.clone());
    if let Some(name) = parameter.reparameterization.clone() {
        return Err(PrepareError::AlreadyReparameterized { path, name });
    }
    match parameter.role {
        Role::Plain => {}
        Role::Latent { .. } => return Err(PrepareError::QuantizedByLayer { path }),
        Role::OfQuantizer => return Err(PrepareError::OfQuantizer { path }),
    }
    if shape.len() < 2 {
        return Err(PrepareError::Rank { path, shape });
    }
    match scheme.weight.groups(&shape, parameter.output_axis()) {
        Ok(_) => Ok(()),
        Err(source) => Err(PrepareError::Granularity {
            path,
            shape,
            source,
        }),
    }
}

/// Attaches [`FakeQuant`] to the selected parameters.
struct Attach {
    /// Scheme and dimension of the output channels of each.
    selected: HashMap<ParamId, (QatScheme, usize)>,
    /// One quantizer for all places of a parameter.
    attached: HashMap<ParamId, FakeQuant>,
}

impl Reparameterizer for Attach {
    type Reparam = FakeQuant;

    fn reparameterize<const D: usize>(
        &mut self,
        _path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<FakeQuant>) {
        let Some((scheme, output_axis)) = self.selected.get(&param.id) else {
            return (param, None);
        };
        let attached = self.attached.entry(param.id);
        let fake_quant =
            attached.or_insert_with(|| FakeQuant::new(scheme, param.val(), *output_axis));
        let fake_quant = fake_quant.clone();
        (param, Some(fake_quant))
    }
}
