//! Parameters that train beside frozen ones.

use burn::{
    module::{Module, Param, Reparameterization},
    tensor::{Int, Tensor},
};

use super::adapted_weight::{AdaptedWeight, INITIAL, LORA, SETTINGS};
use crate::{
    base::path_visitor::{ModulePath, PathVisitor, join, visit_paths},
    peft::{LoraBias, LoraConfig},
};

/// Parameters of an adapted model, by their paths.
#[derive(Default)]
pub(super) struct Trained {
    /// Parameters that train.
    pub(super) paths: Vec<String>,
    /// Scales and initial factors of the adapters, which records of the others need.
    pub(super) settings: Vec<String>,
    /// Number of their values.
    pub(super) num_params: usize,
    /// Modules of the configuration that are not in the model.
    pub(super) unmatched: Vec<String>,
}

impl Trained {
    /// Returns the parameters that a configuration trains in a model with its adapters.
    pub(super) fn of<M: Module>(model: &M, config: &LoraConfig) -> Self {
        let mut found = Parameters::default();
        visit_paths(model, &mut found);
        let Parameters {
            factors,
            settings,
            adapted,
            floats,
        } = found;
        let mut trained = Self {
            settings,
            ..Self::default()
        };
        for module in &config.modules_to_save {
            if !floats.iter().any(|(path, _)| is_below(path, module)) {
                trained.unmatched.push(module.clone());
            }
        }
        let is_saved = |path: &str| config.modules_to_save.iter().any(|m| is_below(path, m));
        let is_bias = |path: &str| match config.bias {
            LoraBias::None => false,
            LoraBias::All => path.rsplit('.').next() == Some("bias"),
            LoraBias::LoraOnly => {
                let mut biases = adapted.iter().map(|module| path.strip_prefix(&**module));
                biases.any(|rest| rest == Some("bias"))
            }
        };
        let own = floats
            .into_iter()
            .filter(|(path, _)| is_saved(path) || is_bias(path));
        for (path, num_params) in factors.into_iter().chain(own) {
            trained.paths.push(path);
            trained.num_params += num_params;
        }
        trained
    }
}

/// Returns whether a parameter is in a module with a name.
fn is_below(path: &str, name: &str) -> bool {
    let module = path.rsplit_once('.').map_or("", |(module, _)| module);
    format!(".{module}.").contains(&format!(".{name}."))
}

/// Float parameters of a model by their kinds.
#[derive(Default)]
struct Parameters {
    /// Factors and norms of adapters, with their numbers of values.
    factors: Vec<(String, usize)>,
    settings: Vec<String>,
    /// Prefixes of the paths of adapted modules, with the dot at the end.
    adapted: Vec<String>,
    /// All others.
    floats: Vec<(String, usize)>,
}

/// Returns whether a path leads into a field of an adapter.
fn is_in(path: &ModulePath, field: &str) -> bool {
    let Some(parameter) = path.reparameterized() else {
        return false;
    };
    let names = path.fields()[parameter.len()..].iter().map(|f| &*f.name);
    let names: Vec<&str> = names.take(2).collect();
    names == [AdaptedWeight::NAME, field]
}

impl PathVisitor for Parameters {
    fn enter(&mut self, path: &ModulePath) {
        if path.reparameterization() == Some(AdaptedWeight::NAME)
            && let Some([module @ .., _weight]) = path.reparameterized()
        {
            let module = join(module);
            let dot = if module.is_empty() { "" } else { "." };
            self.adapted.push(module + dot);
        }
    }

    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        let found = (path.join(), param.lazy_shape().num_elements());
        if is_in(path, LORA) {
            self.factors.push(found);
        } else if is_in(path, INITIAL) {
            self.settings.push(found.0);
        } else {
            self.floats.push(found);
        }
    }

    fn visit_int<const D: usize>(&mut self, path: &ModulePath, _param: &Param<Tensor<D, Int>>) {
        if is_in(path, SETTINGS) {
            self.settings.push(path.join());
        }
    }
}
