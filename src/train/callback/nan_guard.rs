use core::{error::Error, fmt};

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Bool, Tensor},
    train::LearnerModel,
};

use super::{Callback, CallbackResult, OptimizerStep, TrainingRun};

/// Notices NaN and infinite values in gradients before the optimizer uses them, and in parameters
/// before each validation and checkpoint, and says which tensors have them.
///
/// Waits for the device once a step.
#[derive(Debug, Clone)]
pub struct NanGuard {
    /// Steps that may be skipped in a row.
    max_skips: usize,
    skips: usize,
}

/// What a [`NanGuard`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonFinite {
    /// Paths of parameters with NaN or infinite values.
    pub parameters: Vec<String>,
    /// Paths of parameters whose gradients have such values.
    pub gradients: Vec<String>,
    /// Steps that were skipped for it, one after the other.
    pub skips: usize,
}

impl NanGuard {
    /// Ends the training with an error at the first such value.
    pub fn stop() -> Self {
        Self::skip(0)
    }

    /// Skips steps with such a gradient, and ends the training with an error when more than
    /// `max_skips` come one after the other, or a parameter has such a value.
    pub fn skip(max_skips: usize) -> Self {
        Self {
            max_skips,
            skips: 0,
        }
    }

    fn check_parameters<M: Module>(&self, model: &M) -> CallbackResult {
        match all_finite(model, None) {
            true => Ok(()),
            false => Err(NonFinite {
                parameters: paths(model, None),
                gradients: Vec::new(),
                skips: self.skips,
            }
            .into()),
        }
    }
}

impl<M: LearnerModel> Callback<M> for NanGuard {
    fn name(&self) -> &str {
        "nan_guard"
    }

    fn before_optimizer_step(
        &mut self,
        run: &mut TrainingRun<M>,
        step: &mut OptimizerStep<'_>,
    ) -> CallbackResult {
        let model = run.model();
        if step.skipped().is_some() || all_finite(&model, Some(&*step.grads)) {
            self.skips = 0;
            return Ok(());
        }
        let found = NonFinite {
            parameters: paths(&model, None),
            gradients: paths(&model, Some(&*step.grads)),
            skips: self.skips,
        };
        if self.skips >= self.max_skips || !found.parameters.is_empty() {
            return Err(found.into());
        }
        self.skips += 1;
        run.notify("nan_guard", format!("the step is skipped: {found}"));
        step.skip(found.to_string());
        Ok(())
    }

    fn on_validation_start(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        self.check_parameters(&run.model())
    }

    fn before_checkpoint(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        self.check_parameters(&run.model())
    }

    fn state(&self) -> Option<serde_json::Value> {
        Some(self.skips.into())
    }

    fn load_state(&mut self, state: serde_json::Value) -> CallbackResult {
        self.skips = serde_json::from_value(state)?;
        Ok(())
    }
}

/// Whether all gradients, or without them all parameters, are finite: one transfer.
fn all_finite<M: Module>(model: &M, grads: Option<&GradientsParams>) -> bool {
    let mut all = Finite {
        grads,
        path: Vec::new(),
        found: Vec::new(),
    };
    model.visit(&mut all);
    let flags: Vec<_> = all.found.into_iter().map(|(_, flag)| flag).collect();
    match flags.is_empty() {
        true => true,
        false => Tensor::cat(flags, 0).all().into_scalar::<bool>(),
    }
}

/// Paths of the tensors that are not finite.
fn paths<M: Module>(model: &M, grads: Option<&GradientsParams>) -> Vec<String> {
    let mut all = Finite {
        grads,
        path: Vec::new(),
        found: Vec::new(),
    };
    model.visit(&mut all);
    let found = all.found.into_iter();
    found
        .filter_map(|(path, flag)| (!flag.into_scalar::<bool>()).then_some(path))
        .collect()
}

/// For each tensor, whether all of its values are finite.
struct Finite<'a> {
    grads: Option<&'a GradientsParams>,
    path: Vec<String>,
    found: Vec<(String, Tensor<1, Bool>)>,
}

impl ModuleVisitor for Finite<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = match self.grads {
            Some(grads) => grads.get::<D>(param.id),
            None => Some(param.base().without_autodiff()),
        };
        if let Some(values) = values
            && values.shape().num_elements() > 0
        {
            self.found
                .push((self.path.join("."), values.is_finite().all()));
        }
    }
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NaN or infinite values")?;
        if !self.gradients.is_empty() {
            write!(f, " in the gradients of {}", self.gradients.join(", "))?;
        }
        if !self.parameters.is_empty() {
            write!(f, " in the parameters {}", self.parameters.join(", "))?;
        }
        if self.skips > 0 {
            write!(f, ", after {} skipped steps in a row", self.skips)?;
        }
        Ok(())
    }
}

impl Error for NonFinite {}
