use std::collections::BTreeSet;

use burn::{
    module::{Module, Param, ParamId},
    tensor::Tensor,
};

use super::{AdaptedLinear, AdapterBase, LoraBias, PeftConfig, PeftError, ends::End};
use crate::{
    base::path_visitor::{ModulePath, PathVisitor, visit_paths},
    nn::BitNetLm,
};

/// Parameters that a configuration trains beside its adapters: biases, and modules as a whole.
pub(crate) struct TrainedBeside {
    bias: LoraBias,
    saved: Vec<String>,
    /// Modules with the adapter.
    adapted: BTreeSet<String>,
}

/// A parameter of a model with adapters.
pub(crate) struct BesideParameter<'a> {
    /// Module that has it in the model without adapters.
    module: &'a str,
    /// Path in the module, such as `weight`.
    field: &'a str,
}

impl<'a> BesideParameter<'a> {
    /// Splits the path of a parameter that is not part of an adapter or a prompt.
    fn new(path: &'a str) -> Option<Self> {
        if path
            .split('.')
            .any(|part| ["adapters", "products", "prompt"].contains(&part))
        {
            return None;
        }
        let split = path.split_once(".base.").or_else(|| path.rsplit_once('.'));
        split.map(|(module, field)| Self { module, field })
    }
}

impl TrainedBeside {
    /// Returns what is trained beside the adapter of a name.
    pub(crate) fn of<P: AdapterBase>(
        lm: &BitNetLm<AdaptedLinear<P>>,
        name: &str,
        config: &PeftConfig,
    ) -> Self {
        let adapted = lm.projections().filter(|(_, p)| p.adapter(name).is_some());
        let adapted = adapted.map(|(module, _)| module);
        let ends = End::ALL
            .into_iter()
            .filter(|end| end.products(lm).get(name).is_some());
        Self {
            bias: config.bias(),
            saved: config.modules_to_save().to_vec(),
            adapted: adapted
                .chain(ends.map(|end| end.name().to_string()))
                .collect(),
        }
    }

    fn trains(&self, parameter: &BesideParameter<'_>) -> bool {
        let is_bias = parameter.field == "bias";
        let bias = match self.bias {
            LoraBias::None => false,
            LoraBias::All => is_bias,
            LoraBias::LoraOnly => is_bias && self.adapted.contains(parameter.module),
        };
        bias || self.saved.iter().any(|name| is_in(parameter.module, name))
    }

    /// Returns the parameter with a path, if it trains.
    pub(crate) fn find<'a>(&self, path: &'a str) -> Option<BesideParameter<'a>> {
        BesideParameter::new(path).filter(|parameter| self.trains(parameter))
    }

    /// Returns the name of a parameter in files of peft, if it has one.
    #[cfg(feature = "interop")]
    pub(crate) fn file_name(&self, parameter: &BesideParameter<'_>) -> Option<String> {
        let module = parameter.module;
        match parameter.field {
            "bias" if self.adapted.contains(module) => Some(format!("{module}.base_layer.bias")),
            "bias" => Some(format!("{module}.bias")),
            "weight" | "gamma" | "float_weight" => Some(format!("{module}.weight")),
            _ => None,
        }
    }

    /// Returns the parameters of a model that train, and adds the names of modules that it does not have.
    pub(super) fn ids<M: Module>(&self, module: &M, unmatched: &mut Vec<String>) -> Vec<ParamId> {
        let parameters = Parameters::of(module);
        let known = |name: &&String| {
            let found = parameters
                .0
                .iter()
                .filter_map(|(path, _)| BesideParameter::new(path));
            found.into_iter().any(|p| is_in(p.module, name))
        };
        let missing = self.saved.iter().filter(|name| !known(name));
        unmatched.extend(missing.cloned());
        let trained = parameters.0.iter();
        let trained = trained.filter(|(path, _)| self.find(path).is_some());
        trained.map(|(_, id)| *id).collect()
    }
}

/// Returns whether a module has this name, or is in one that has it.
fn is_in(module: &str, name: &str) -> bool {
    format!(".{module}.").contains(&format!(".{name}."))
}

/// Gives the model a head of its own if the table or the head, which are one, are to be trained as a whole: peft
/// trains a copy of each.
pub(super) fn with_own_head<P: AdapterBase>(
    lm: BitNetLm<AdaptedLinear<P>>,
    saved: &[String],
) -> BitNetLm<AdaptedLinear<P>> {
    let ends = End::ALL.map(End::name);
    let is_saved = |end: &&str| saved.iter().any(|name| is_in(end, name));
    match ends.iter().any(is_saved) {
        true => lm.with_own_head(),
        false => lm,
    }
}

/// Checks that the projections that are trained as a whole have weights that train.
pub(super) fn check_weights<P: AdapterBase>(
    lm: &BitNetLm<AdaptedLinear<P>>,
    saved: &[String],
) -> Result<(), PeftError> {
    let is_saved = |module: &str| saved.iter().any(|name| is_in(module, name));
    let mut fixed = lm.projections().filter(|(module, linear)| {
        let parameters = Parameters::of(&linear.base).0;
        let has_weight = |(path, _): &(String, _)| path == "weight" || path == "float_weight";
        is_saved(module) && !parameters.iter().any(has_weight)
    });
    match fixed.next() {
        Some((module, _)) => Err(PeftError::FixedModule {
            module,
            base: P::KIND,
        }),
        None => Ok(()),
    }
}

/// Paths of the float parameters of a model.
#[derive(Default)]
struct Parameters(Vec<(String, ParamId)>);

impl Parameters {
    fn of<M: Module>(module: &M) -> Self {
        let mut parameters = Self::default();
        visit_paths(module, &mut parameters);
        parameters
    }
}

impl PathVisitor for Parameters {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        self.0.push((path.join(), param.id));
    }
}
