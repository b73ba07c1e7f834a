use std::collections::{HashMap, HashSet};

use burn::{
    config::Config,
    module::{Module, Param, ParamGroup, ParamId},
    tensor::Tensor,
};
use serde::{Deserialize, Serialize};

use super::{
    KurtosisLoss, L1Loss, LevelDistanceLoss, OscillationDampeningLoss, ScaleDecayLoss,
    SparsityTargetLoss,
};
use crate::{
    base::{
        bounds::{Bounds, not_negative},
        path_visitor::{ModulePath, PathVisitor, visit_paths},
    },
    ops::Groups,
    qat::Inventory,
    quant::{Ste, WeightQuantizer},
};

/// Regularizer of weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Regularizer {
    /// Distance from the quantization levels.
    LevelDistance(LevelDistanceLoss),
    /// Kurtosis.
    Kurtosis(KurtosisLoss),
    /// Magnitude: [`L1Loss`].
    L1,
    /// Fraction of zeros.
    SparsityTarget(SparsityTargetLoss),
    /// Size of trained scales.
    ScaleDecay(ScaleDecayLoss),
    /// Oscillations: [`OscillationDampeningLoss`].
    OscillationDampening,
}

/// Regularizer of all weights of a module that a group selects:
/// `L = coefficient * sum_W loss(W)`.
///
/// It reads the latent weights that the optimizer updates, in modules fake-quantized by
/// [`Prepare`](crate::qat::Prepare) or with layers that quantize, such as
/// [`BitLinear`](crate::nn::BitLinear). Gradients flow to these parameters. A parameter that
/// appears several times in the module counts once.
///
/// # Example
///
/// ```
/// use bitnet_burn::{
///     loss::{KurtosisLoss, Regularizer, WeightRegularizer},
///     nn::BitLinearConfig,
/// };
/// use burn::{module::ParamGroup, tensor::Device};
///
/// let layer = BitLinearConfig::new(8, 4).init(&Device::default().autodiff());
/// let kurtosis = Regularizer::Kurtosis(KurtosisLoss::new());
/// let regularizer = WeightRegularizer::new(kurtosis)
///     .with_coefficient(0.1)
///     .with_group(ParamGroup::from_predicate("weight"));
/// let penalty = regularizer.forward(&layer).expect("a weight");
/// // Added to the loss of the task, or on its own:
/// let gradients = penalty.backward();
/// assert!(layer.weight.val().grad(&gradients).is_some());
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightRegularizer {
    /// Regularizer that is computed for each weight.
    pub regularizer: Regularizer,
    /// Factor of the sum over the weights, 0 or above; 1 by default.
    #[serde(default = "one", deserialize_with = "not_negative")]
    pub coefficient: f64,
    /// Group of parameters; all by default. Only weights are selected from it: no vectors (biases,
    /// gains of norms), and no parameters of a quantizer (step sizes and offsets) or of a
    /// reparameterization (adapters). [`Regularizer::ScaleDecay`] takes all of the group.
    #[serde(default = "ParamGroup::all")]
    pub group: ParamGroup,
    /// Quantizer of the weights, used by the regularizers that need levels.
    #[serde(default)]
    pub quantizer: WeightQuantizer,
}

fn one() -> f64 {
    1.0
}

impl Config for WeightRegularizer {}

impl WeightRegularizer {
    /// Creates the sum of `regularizer` over all weights of a module, ternary with one scale per
    /// tensor.
    pub fn new(regularizer: Regularizer) -> Self {
        Self {
            regularizer,
            coefficient: one(),
            group: ParamGroup::all(),
            quantizer: WeightQuantizer::default(),
        }
    }

    /// Sets [`coefficient`](Self::coefficient).
    ///
    /// # Panics
    ///
    /// If it is not zero or above and finite.
    #[track_caller]
    #[must_use]
    pub fn with_coefficient(mut self, coefficient: f64) -> Self {
        Bounds::NOT_NEGATIVE.assert("coefficient", coefficient);
        self.coefficient = coefficient;
        self
    }

    /// Sets [`group`](Self::group).
    #[must_use]
    pub fn with_group(mut self, group: ParamGroup) -> Self {
        self.group = group;
        self
    }

    /// Sets [`quantizer`](Self::quantizer).
    #[must_use]
    pub fn with_quantizer(mut self, quantizer: impl Into<WeightQuantizer>) -> Self {
        self.quantizer = quantizer.into();
        self
    }

    /// Computes the weighted sum over the selected weights, of shape `[1]`; `None` if none is
    /// selected.
    ///
    /// # Panics
    ///
    /// If the regularizer needs levels and the granularity of the quantizer does not fit a selected
    /// weight.
    #[track_caller]
    pub fn forward<M: Module>(&self, module: &M) -> Option<Tensor<1>> {
        let mut penalties = Penalties {
            regularizer: self,
            output_axes: output_axes(module),
            counted: HashSet::new(),
            losses: Vec::new(),
        };
        visit_paths(module, &mut penalties);
        let sum = penalties
            .losses
            .into_iter()
            .reduce(|sum, loss| sum + loss)?;
        Some(sum.mul_scalar(self.coefficient))
    }

    /// Returns the loss of a parameter; `None` if a regularizer of weights does not apply to it.
    fn penalty<const D: usize>(
        &self,
        value: Tensor<D>,
        output_axis: Option<usize>,
        path: &str,
    ) -> Option<Tensor<1>> {
        Some(match (&self.regularizer, output_axis) {
            (Regularizer::ScaleDecay(loss), _) => loss.forward(value),
            (_, None) => return None,
            (Regularizer::Kurtosis(loss), _) => loss.forward(value),
            (Regularizer::L1, _) => L1Loss::new().forward(value),
            (Regularizer::SparsityTarget(loss), _) => loss.forward(value),
            (Regularizer::LevelDistance(loss), Some(output_axis)) => {
                let levels = self.levels(value, output_axis, path);
                loss.forward(levels.weight, levels.quantized)
            }
            (Regularizer::OscillationDampening, Some(output_axis)) => {
                let levels = self.levels(value, output_axis, path);
                OscillationDampeningLoss::new().forward(
                    levels.weight,
                    levels.quantized,
                    levels.lowest,
                    levels.highest,
                )
            }
        })
    }

    #[track_caller]
    fn levels<const D: usize>(&self, weight: Tensor<D>, output_axis: usize, path: &str) -> Levels {
        let shape = weight.dims();
        let groups = match self.quantizer.groups(&shape, output_axis) {
            Ok(groups) => groups,
            Err(error) => panic!("parameter {path} of shape {shape:?}: {error}"),
        };
        let Groups { outer, size, inner } = groups;

        let latent = weight.clone().detach();
        let (quantized, scales) = self.quantizer.fake_quant(latent, groups, Ste::Identity);
        // Rounded like the quantized weight, so that a clipped weight is at its level exactly.
        let scales = scales.cast(weight.dtype()).reshape([outer, 1, inner]);
        let codes = self.quantizer.codes();
        let lowest = scales.clone().mul_scalar(codes.min);
        let highest = scales.mul_scalar(codes.max);
        Levels {
            weight: weight.reshape([outer, size, inner]),
            quantized: quantized.reshape([outer, size, inner]),
            lowest,
            highest,
        }
    }
}

/// Returns the output channel dimension of each weight of a module.
fn output_axes<M: Module>(module: &M) -> HashMap<ParamId, usize> {
    Inventory::of(module)
        .parameters
        .into_iter()
        // A weight without values has no levels.
        .filter(|p| p.is_weight() && !p.shape.contains(&0))
        .map(|p| (p.id, p.output_axis()))
        .collect()
}

/// Losses of the parameters that the group selects.
struct Penalties<'a> {
    regularizer: &'a WeightRegularizer,
    output_axes: HashMap<ParamId, usize>,
    counted: HashSet<ParamId>,
    losses: Vec<Tensor<1>>,
}

impl PathVisitor for Penalties<'_> {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        let path = path.join();
        let selected = self.regularizer.group.matches(&param.id, Some(&path));
        if !selected || self.counted.contains(&param.id) {
            return;
        }
        let output_axis = self.output_axes.get(&param.id).copied();
        let penalty = self.regularizer.penalty(param.val(), output_axis, &path);
        let Some(penalty) = penalty else {
            return;
        };
        self.counted.insert(param.id);
        self.losses.push(penalty);
    }
}

/// Weight, quantized value and range, each grouped as `[outer, size, inner]`.
struct Levels {
    weight: Tensor<3>,
    quantized: Tensor<3>,
    lowest: Tensor<3>,
    highest: Tensor<3>,
}
