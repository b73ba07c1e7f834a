//! Models without the reparameterizations of their parameters, and how these get quantizers again.

use core::any::Any;
use std::collections::{HashMap, HashSet};

use burn::{
    module::{Module, Param, Reparameterization, Reparameterizer},
    tensor::Tensor,
};

use super::{adapted_weight::AdaptedWeight, error::AttachError};
use crate::{
    base::path_visitor::{ModulePath, PathMapper, PathVisitor, map_paths, visit_paths},
    qat::{FakeQuant, Inventory},
};

/// Values of float parameters by their paths; the rank of each is in its type.
#[derive(Default)]
pub(super) struct Values {
    wanted: HashSet<String>,
    values: HashMap<String, Box<dyn Any>>,
}

impl Values {
    /// Reads the stored values of the parameters with these paths.
    pub(super) fn of<M: Module>(model: &M, wanted: HashSet<String>) -> Self {
        let mut values = Self {
            wanted,
            ..Self::default()
        };
        visit_paths(model, &mut values);
        values
    }

    /// Adds a value.
    pub(super) fn set<const D: usize>(&mut self, path: String, value: Tensor<D>) {
        self.values.insert(path, Box::new(value));
    }

    /// Adds other values.
    pub(super) fn with(mut self, others: Self) -> Self {
        self.values.extend(others.values);
        self
    }
}

impl PathVisitor for Values {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        let path = path.join();
        if self.wanted.contains(&path) {
            self.values.insert(path, Box::new(param.base()));
        }
    }
}

/// Sets the values.
impl PathMapper for Values {
    fn map_float<const D: usize>(
        &mut self,
        path: &ModulePath,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        let value = self.values.remove(&path.join());
        match value.and_then(|value| value.downcast::<Tensor<D>>().ok()) {
            Some(value) => param.map(|old| like(*value, &old)),
            None => param,
        }
    }
}

/// Returns a value in the type, autodiff and gradient requirement of another one.
fn like<const D: usize>(value: Tensor<D>, old: &Tensor<D>) -> Tensor<D> {
    let value = value.cast(old.dtype());
    let value = match (value.is_autodiff(), old.is_autodiff()) {
        (false, true) => value.autodiff(),
        (true, false) => value.without_autodiff(),
        _ => value,
    };
    value.set_require_grad(old.is_require_grad())
}

/// Removes the reparameterizations of a model, whose parameters keep their stored values, except for those of
/// `others`.
///
/// Burn removes a reparameterization only from all parameters, and puts its result into the parameter
/// ([`Module::materialize`]): the stored value is set again.
pub(super) fn bare<M: Module>(
    model: M,
    inventory: &Inventory,
    others: Values,
) -> Result<M, AttachError> {
    let mut reparameterized = HashSet::new();
    for parameter in &inventory.parameters {
        match parameter.reparameterization.as_deref() {
            None => {}
            Some(FakeQuant::NAME | AdaptedWeight::NAME) => {
                reparameterized.insert(parameter.path.clone());
            }
            Some(name) => {
                return Err(AttachError::Foreign {
                    path: parameter.path.clone(),
                    name: name.to_string(),
                });
            }
        }
    }
    let mut values = Values::of(&model, reparameterized).with(others);
    Ok(map_paths(model.materialize(), &mut values))
}

/// Attaches fake quantizers to parameters, by their paths.
pub(super) struct Requantize(pub(super) HashMap<String, FakeQuant>);

impl Reparameterizer for Requantize {
    type Reparam = FakeQuant;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<FakeQuant>) {
        let fake_quant = self.0.remove(path);
        (param, fake_quant)
    }
}
