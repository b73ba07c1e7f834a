//! Weights that a configuration targets, by the types and names of the modules that hold them.

use burn::module::Reparameterization;

use super::error::AttachError;
use crate::{
    base::path_visitor::join,
    peft::{LoraConfig, TargetModules, targets::Selection},
    qat::{FakeQuant, Inventory, Parameter},
};

/// The weight of a `Linear`.
pub(super) struct LinearWeight<'a> {
    /// Name of the module; for a model that is a `Linear`, that of the parameter.
    pub(super) module: String,
    pub(super) parameter: &'a Parameter,
}

/// Weights that get an adapter, and what matches nothing.
pub(super) struct Targeted<'a> {
    pub(super) weights: Vec<LinearWeight<'a>>,
    /// Names of `target_modules` that match no `Linear`.
    pub(super) unmatched: Vec<String>,
}

/// Returns the module that holds a parameter.
fn module_of(parameter: &Parameter) -> String {
    match parameter.fields.split_last() {
        Some((_, module)) if !module.is_empty() => join(module),
        _ => parameter.path.clone(),
    }
}

/// Returns whether a parameter is the weight of a `Linear`.
fn is_linear(parameter: &Parameter) -> bool {
    let field = parameter.fields.last().map(|field| field.name.as_str());
    parameter.container == "Linear" && field == Some("weight") && parameter.shape.len() == 2
}

/// Returns the weights that a configuration targets.
pub(super) fn targeted<'a>(
    inventory: &'a Inventory,
    config: &LoraConfig,
) -> Result<Targeted<'a>, AttachError> {
    let selection = config.targets.compile(&config.modules_to_save)?;
    let linears = inventory.parameters.iter().filter(|p| is_linear(p));
    let linears = linears.map(|parameter| LinearWeight {
        module: module_of(parameter),
        parameter,
    });
    let (weights, others): (Vec<_>, Vec<_>) =
        linears.partition(|linear| selection.matches(&linear.module));
    if config.targets.target_modules != TargetModules::AllLinear {
        refuse_other_types(inventory, &selection)?;
    }
    let names = || weights.iter().chain(&others).map(|l| l.module.as_str());
    if weights.is_empty() {
        return Err(AttachError::NoMatch {
            targets: config.targets.target_modules.to_string(),
            linears: names().map(str::to_string).collect(),
        });
    }
    for weight in &weights {
        check(inventory, weight.parameter)?;
    }
    let unmatched = selection.unmatched(names().collect::<Vec<_>>().into_iter());
    Ok(Targeted { weights, unmatched })
}

/// Refuses modules of other types whose names are targeted.
fn refuse_other_types(inventory: &Inventory, selection: &Selection) -> Result<(), AttachError> {
    // The bias of a `Linear` is not targeted.
    let mut others = inventory.parameters.iter();
    let other = others.find(|parameter| {
        parameter.container != "Linear" && selection.matches(&module_of(parameter))
    });
    match other {
        None => Ok(()),
        Some(parameter) => Err(AttachError::NotLinear {
            module: module_of(parameter),
            kind: parameter.container.clone(),
        }),
    }
}

/// Checks that a weight can get an adapter.
fn check(inventory: &Inventory, parameter: &Parameter) -> Result<(), AttachError> {
    match &parameter.reparameterization {
        Some(name) if name != FakeQuant::NAME => {
            return Err(AttachError::AlreadyReparameterized {
                path: parameter.path.clone(),
                name: name.clone(),
            });
        }
        _ => {}
    }
    let places = inventory.parameters.iter().filter(|p| p.id == parameter.id);
    let paths: Vec<String> = places.map(|p| p.path.clone()).collect();
    match paths.len() {
        1 => Ok(()),
        _ => Err(AttachError::Shared { paths }),
    }
}
