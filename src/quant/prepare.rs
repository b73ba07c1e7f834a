use core::fmt;
use std::collections::HashMap;

use burn::{
    module::{Module, Param, ParamGroup, ParamId, Reparameterizer},
    tensor::Tensor,
};

use super::{
    FakeQuant, GranularityError, MixedPrecisionPlan, PlanError, Precision, QatScheme,
    SymmetricConfig,
    controls::layer_of,
    inventory::{Inventory, Parameter},
};

/// Makes any Burn model train with fake-quantised weights, without a change to its code.
///
/// The weights of the default selection are all float parameters of rank 2 or more except those
/// of embeddings (modules named `Embedding`) and of the output head: the parameters of a module
/// called `lm_head`, `head`, `classifier` or `output`, or else the last weight in declaration
/// order. Norms and biases have rank 1. With [`with_group`](Self::with_group) exactly the
/// parameters of the group are taken.
///
/// Activations stay in float: a reparameterization sees the weight only. Layers that quantise
/// them too are [`BitLinear`](crate::nn::BitLinear).
///
/// # Example
///
/// ```
/// use bitnet_burn::quant::{Prepare, QatScheme};
/// use burn::{nn::LinearConfig, module::ParamGroup, tensor::Device};
///
/// let layer = LinearConfig::new(64, 32).init(&Device::default());
/// let prepared = Prepare::new(QatScheme::b1_58())
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
}

/// A prepared model and what was done to it.
#[derive(Debug, Clone)]
pub struct Prepared<M> {
    /// The model, whose selected weights are fake-quantised.
    pub model: M,
    /// What was attached, and what was left out.
    pub report: PrepareReport,
}

/// What [`Prepare`] decided for each float parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct PrepareReport {
    /// The parameters in declaration order.
    pub parameters: Vec<ParameterReport>,
}

/// The decision for one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterReport {
    /// Path in the model, such as `layers.0.weight`.
    pub path: String,
    /// Shape of the parameter.
    pub shape: Vec<usize>,
    /// What became of it.
    pub decision: Decision,
}

/// What becomes of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Trains fake-quantised.
    Quantized,
    /// Stays in float: a vector, that is a bias, norm or other rank-1 parameter.
    Vector,
    /// Stays in float: the table of an embedding.
    Embedding,
    /// Stays in float: the output head.
    OutputHead,
    /// Stays in float: not in the group that was asked for.
    NotSelected,
    /// Stays in float: the plan says so.
    PlannedFloat,
}

/// Why a model could not be prepared.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PrepareError {
    /// No parameter was selected.
    NothingMatched {
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

impl Prepare {
    /// Prepares models by the weight quantiser and estimator of `scheme`.
    pub fn new(scheme: QatScheme) -> Self {
        Self {
            scheme,
            group: None,
            plan: None,
        }
    }

    /// Quantises each selected weight as a plan says for its layer, the module that holds it; those
    /// that are not in the plan by the scheme.
    pub fn with_plan(mut self, plan: MixedPrecisionPlan) -> Self {
        self.plan = Some(plan);
        self
    }

    /// Takes exactly the parameters of `group` instead of the default selection.
    pub fn with_group(mut self, group: ParamGroup) -> Self {
        self.group = Some(group);
        self
    }

    /// Attaches fake quantisation to the selected parameters.
    ///
    /// # Errors
    ///
    /// If nothing was selected, or a selected parameter already has a reparameterization, has
    /// less than two dimensions, or does not fit the granularity. The model is not changed then.
    pub fn apply<M: Module>(&self, model: M) -> Result<Prepared<M>, PrepareError> {
        let inventory = Inventory::of(&model);
        let mut decisions = self.decide(&inventory);
        self.follow_plan(&inventory, &mut decisions)?;

        let mut selected = HashMap::new();
        for (parameter, decision) in inventory.parameters.iter().zip(&decisions) {
            if *decision == Decision::Quantized {
                let scheme = self.scheme_of(parameter);
                check(parameter, &scheme)?;
                selected.insert(parameter.id, (scheme, parameter.output_axis()));
            }
        }
        if selected.is_empty() {
            let paths = inventory.parameters.into_iter().map(|p| p.path).collect();
            return Err(PrepareError::NothingMatched { paths });
        }

        let model = model.apply_reparameterization(Attach { selected });
        let parameters = inventory
            .parameters
            .into_iter()
            .zip(decisions)
            .map(|(parameter, decision)| ParameterReport {
                path: parameter.path,
                shape: parameter.shape,
                decision,
            })
            .collect();
        Ok(Prepared {
            model,
            report: PrepareReport { parameters },
        })
    }

    fn decide(&self, inventory: &Inventory) -> Vec<Decision> {
        let head = inventory.output_head();
        let select = |(index, parameter): (usize, &Parameter)| match &self.group {
            Some(group) if group.matches(&parameter.id, Some(&parameter.path)) => {
                Decision::Quantized
            }
            Some(_) => Decision::NotSelected,
            None if parameter.shape.len() < 2 => Decision::Vector,
            None if parameter.container == "Embedding" => Decision::Embedding,
            None if head.contains(&index) => Decision::OutputHead,
            None => Decision::Quantized,
        };
        inventory
            .parameters
            .iter()
            .enumerate()
            .map(select)
            .collect()
    }

    /// Leaves what the plan leaves in float.
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

    /// The scheme of a parameter, by the plan.
    fn scheme_of(&self, parameter: &Parameter) -> QatScheme {
        let scheme = self.scheme.clone();
        let plan = self.plan.as_ref();
        let planned = plan.and_then(|plan| plan.layers.get(layer_of(&parameter.path)));
        match planned {
            Some(Precision::Bits(bits)) => {
                let granularity = scheme.weight.granularity();
                scheme.with_weight(SymmetricConfig::new(*bits).with_granularity(granularity))
            }
            _ => scheme,
        }
    }
}

fn check(parameter: &Parameter, scheme: &QatScheme) -> Result<(), PrepareError> {
    let (path, shape) = (parameter.path.clone(), parameter.shape.clone());
    if let Some(name) = parameter.reparameterization.clone() {
        return Err(PrepareError::AlreadyReparameterized { path, name });
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

/// Attaches [`FakeQuant`] to the parameters that were selected.
struct Attach {
    /// Scheme and dimension of the output channels of each.
    selected: HashMap<ParamId, (QatScheme, usize)>,
}

impl Reparameterizer for Attach {
    type Reparam = FakeQuant;

    fn reparameterize<const D: usize>(
        &mut self,
        _path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<FakeQuant>) {
        let selected = self.selected.get(&param.id);
        let fake_quant =
            selected.map(|(scheme, output_axis)| FakeQuant::new(scheme, param.val(), *output_axis));
        (param, fake_quant)
    }
}

impl PrepareReport {
    /// Number of parameters that train fake-quantised.
    pub fn num_quantized(&self) -> usize {
        let quantized = |p: &&ParameterReport| p.decision == Decision::Quantized;
        self.parameters.iter().filter(quantized).count()
    }
}

impl fmt::Display for PrepareReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for parameter in &self.parameters {
            let decision = match parameter.decision {
                Decision::Quantized => "quantized",
                Decision::Vector => "float (vector)",
                Decision::Embedding => "float (embedding)",
                Decision::OutputHead => "float (output head)",
                Decision::NotSelected => "float (not selected)",
                Decision::PlannedFloat => "float (plan)",
            };
            let shape = format!("{:?}", parameter.shape);
            writeln!(f, "{:<40} {shape:<20} {decision}", parameter.path)?;
        }
        write!(
            f,
            "{} of {} parameters quantized",
            self.num_quantized(),
            self.parameters.len()
        )
    }
}

impl fmt::Display for PrepareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingMatched { paths } if paths.is_empty() => {
                write!(f, "the model has no float parameters")
            }
            Self::NothingMatched { paths } => write!(
                f,
                "no parameter was selected for quantization, the model has: {}",
                paths.join(", ")
            ),
            Self::AlreadyReparameterized { path, name } => write!(
                f,
                "parameter {path} already has the reparameterization `{name}`, and a parameter \
                 holds only one"
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
