//! Models in training.

use burn::{
    module::{Flag, Module, ModuleVisitor, Param},
    tensor::Tensor,
};

use super::config::TrainingConfigError;

/// Turns gradients on in a model that has none, as [`Module::train`].
///
/// # Errors
///
/// If the model has parameters, and all are frozen.
pub(super) fn with_gradients<M: Module>(model: M) -> Result<M, TrainingConfigError> {
    // A frozen part, such as a teacher, has none.
    let has_gradients = model.devices().iter().any(|device| device.is_autodiff());
    let model = match has_gradients {
        true => model,
        false => model.train(),
    };
    let mut counts = Counts::default();
    model.visit(&mut counts);
    match counts {
        Counts {
            parameters: 1..,
            trained: 0,
        } => Err(TrainingConfigError::NothingTrains),
        _ => Ok(model),
    }
}

/// Numbers of float parameters, and of those that train.
#[derive(Default)]
struct Counts {
    parameters: usize,
    trained: usize,
}

impl ModuleVisitor for Counts {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.parameters += 1;
        self.trained += usize::from(param.base().is_require_grad());
    }
}

/// Returns whether gradient checkpointing is on in a model or a part of it: a flag of this name.
pub(super) fn has_gradient_checkpointing<M: Module>(model: &M) -> bool {
    let mut found = FindFlag::default();
    model.visit(&mut found);
    found.is_on
}

#[derive(Default)]
struct FindFlag {
    fields: Vec<String>,
    is_on: bool,
}

impl ModuleVisitor for FindFlag {
    fn visit_flag(&mut self, flag: &Param<Flag>) {
        let field = self.fields.last().map(String::as_str);
        self.is_on |= field == Some("gradient_checkpointing") && flag.val().is_enabled();
    }

    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.fields.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.fields.pop();
    }
}
