use core::any::Any;
use std::collections::BTreeMap;

use burn::{
    module::{Module, Param, ParamId},
    tensor::Tensor,
};

use crate::base::path_visitor::{ModulePath, PathVisitor, join, visit_paths};

/// A parameter and its values, without autodiff.
#[derive(Debug, Clone)]
pub(super) struct Factor<const D: usize> {
    pub id: ParamId,
    pub value: Tensor<D>,
}

/// Factors of an [`AdaLora`](super::AdaLora) that trains.
#[derive(Debug, Clone)]
pub(super) struct Directions {
    pub a: Factor<2>,
    pub e: Factor<1>,
    pub b: Factor<2>,
}

/// Returns the factors of all AdaLoRA adapters of a module that train, by the paths of the adapters.
pub(super) fn trained_directions<M: Module>(module: &M) -> BTreeMap<String, Directions> {
    let mut found = Found::default();
    visit_paths(module, &mut found);
    let adapters = found.0.into_iter().filter_map(|(path, parts)| {
        let Parts { a, e, b } = parts;
        let (a, e, b) = (a?, e?, b?);
        Some((path, Directions { a, e, b }))
    });
    adapters.collect()
}

/// Factors found so far.
#[derive(Default)]
struct Found(BTreeMap<String, Parts>);

#[derive(Default)]
struct Parts {
    a: Option<Factor<2>>,
    e: Option<Factor<1>>,
    b: Option<Factor<2>>,
}

impl PathVisitor for Found {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        let Some((last, adapter)) = path.fields().split_last() else {
            return;
        };
        if last.container != "AdaLora" || !param.is_require_grad() {
            return;
        }
        let parts = self.0.entry(join(adapter)).or_default();
        match last.name.as_str() {
            "a" => parts.a = factor(param),
            "e" => parts.e = factor(param),
            "b" => parts.b = factor(param),
            _ => {}
        }
    }
}

/// Returns a parameter that has the expected rank.
fn factor<const D: usize, const E: usize>(param: &Param<Tensor<D>>) -> Option<Factor<E>> {
    let param = (param as &dyn Any).downcast_ref::<Param<Tensor<E>>>()?;
    Some(Factor {
        id: param.id,
        value: param.val().without_autodiff(),
    })
}
