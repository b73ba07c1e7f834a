use burn::{
    module::{Module, Param, ParamGroup, ParamId},
    tensor::Tensor,
};
use serde::{Deserialize, Serialize};

use super::TrainingConfigError;
use crate::base::{
    bounds::{Bounds, OutOfBounds},
    distinct::visit_distinct,
    path_visitor::{ModulePath, PathVisitor, Paths},
};

/// Parameters with a learning rate or a weight decay of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterGroupConfig {
    /// Regular expression that is searched in the paths of the parameters, such as `quant\.scale$`
    /// for scales that quantizers train, or `norm|bias`. Each group must match at least one
    /// parameter, and no parameter may be in two groups.
    pub pattern: String,
    /// Factor of the learning rate, above 0.
    #[serde(default = "one")]
    pub learning_rate: f64,
    /// Weight decay that replaces that of the optimizer, 0 or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

fn one() -> f64 {
    1.0
}

impl ParameterGroupConfig {
    /// Creates a group with the learning rate and the weight decay of all parameters.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self {
            pattern: pattern.into(),
            learning_rate: 1.0,
            weight_decay: None,
        }
    }

    /// Sets the factor of the learning rate.
    #[must_use]
    pub fn with_learning_rate(mut self, factor: f64) -> Self {
        self.learning_rate = factor;
        self
    }

    /// Sets the weight decay.
    #[must_use]
    pub fn with_weight_decay(mut self, weight_decay: f64) -> Self {
        self.weight_decay = Some(weight_decay);
        self
    }

    /// Checks the values of the group with this index.
    pub(super) fn validate(&self, index: usize) -> Result<(), TrainingConfigError> {
        let field = |name: &str| format!("optimizer.groups[{index}].{name}");
        self.parameters(index)?;
        Bounds::POSITIVE.check(&field("learning_rate"), self.learning_rate)?;
        match self.weight_decay {
            Some(decay) => Ok(Bounds::NOT_NEGATIVE.check(&field("weight_decay"), decay)?),
            None => Ok(()),
        }
    }

    /// Returns the parameter group for Burn's optimizers and schedulers.
    pub(super) fn parameters(&self, index: usize) -> Result<ParamGroup, TrainingConfigError> {
        ParamGroup::from_regex(&self.pattern).map_err(|error| TrainingConfigError::Parse {
            field: format!("optimizer.groups[{index}].pattern"),
            message: format!("{error:?}"),
        })
    }
}

/// Rejects a group that matches no parameter of the model, and two that share one.
pub(super) fn check_groups<M: Module>(
    groups: &[ParameterGroupConfig],
    model: &M,
) -> Result<(), TrainingConfigError> {
    let mut parameters = FirstPaths::default();
    visit_distinct(model, &mut Paths::new(&mut parameters));
    let parameters = parameters.0;
    let mut owners: Vec<Option<usize>> = vec![None; parameters.len()];
    for (index, group) in groups.iter().enumerate() {
        let matching = group.parameters(index)?;
        let field = format!("optimizer.groups[{index}].pattern");
        let mut is_empty = true;
        for ((id, path), owner) in parameters.iter().zip(&mut owners) {
            if !matching.matches(id, Some(path)) {
                continue;
            }
            is_empty = false;
            if let Some(other) = owner.replace(index) {
                let allowed =
                    format!("of no parameter of optimizer.groups[{other}], which has {path}, too");
                return Err(OutOfBounds::new(&field, &allowed, &group.pattern).into());
            }
        }
        let paths: Vec<&str> = parameters.iter().map(|(_, path)| path.as_str()).collect();
        let allowed = format!(
            "found in the path of a parameter of the model ({})",
            paths.join(", ")
        );
        OutOfBounds::unless(!is_empty, &field, &allowed, &group.pattern)?;
    }
    Ok(())
}

/// The float parameters of a model, also of reparameterizations, by their first paths: Burn's optimizers
/// update a shared parameter there.
#[derive(Default)]
struct FirstPaths(Vec<(ParamId, String)>);

impl PathVisitor for FirstPaths {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        self.0.push((param.id, path.join()));
    }
}
