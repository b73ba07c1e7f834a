//! Detection of NaN and infinite values in gradients and parameters, and of the steps skipped for
//! them.

use core::fmt;

use burn::{
    module::{Module, Param},
    optim::GradientsParams,
    tensor::{Bool, Tensor},
};
use serde::{Deserialize, Serialize};

use crate::base::{
    distinct::visit_distinct,
    path_visitor::{ModulePath, PathVisitor, Paths, visit_paths},
};

/// Error when an optimizer step has values that are not finite, or was skipped because of them.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct NonFinite {
    /// Paths of parameters with NaN or infinite values.
    pub parameters: Vec<String>,
    /// Paths of parameters whose gradients have such values.
    pub gradients: Vec<String>,
    /// Loss of the last batch of the step; `None` if unknown.
    pub loss: Option<f64>,
    /// Number of consecutive skipped steps before this one.
    pub skips: usize,
    /// First of these steps, or this step: the number of steps taken before it, as in
    /// [`TrainingEvent::step`](super::TrainingEvent::step).
    pub since: usize,
    /// Reason for which another callback skipped the step, if any.
    pub skipped: Option<String>,
    /// Minimum [loss scale](super::LossScaling), if it was reached.
    pub min_scale: Option<f32>,
}

impl NonFinite {
    /// Finds the parameters of a model, and with `grads` their gradients, that are not finite.
    pub(super) fn find<M: Module>(
        model: &M,
        grads: Option<&GradientsParams>,
        step: usize,
        row: SkippedSteps,
    ) -> Self {
        Self {
            parameters: non_finite_paths(model, None),
            gradients: grads.map_or_else(Vec::new, |grads| non_finite_paths(model, Some(grads))),
            loss: None,
            skips: row.count,
            since: row.since(step),
            skipped: None,
            min_scale: None,
        }
    }
}

/// Consecutive skipped steps up to the current one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SkippedSteps {
    pub count: usize,
    /// Number of steps taken before the first of them.
    first: usize,
}

impl SkippedSteps {
    /// Returns the number of steps taken before the first of them, if `step` is the next.
    pub fn since(self, step: usize) -> usize {
        match self.count {
            0 => step,
            _ => self.first,
        }
    }

    /// Adds another step, before which `step` steps were taken.
    #[must_use]
    pub fn and(self, step: usize) -> Self {
        Self {
            count: self.count + 1,
            first: self.since(step),
        }
    }
}

/// Returns `true` if all gradients, or without `grads` all parameters, are finite, with one
/// transfer.
pub(super) fn all_finite<M: Module>(model: &M, grads: Option<&GradientsParams>) -> bool {
    let flags: Vec<_> = Finite::of(model, grads)
        .into_iter()
        .map(|(_, flag)| flag)
        .collect();
    match flags.is_empty() {
        true => true,
        false => Tensor::cat(flags, 0).all().into_scalar::<bool>(),
    }
}

/// Returns the paths of the parameters that are not finite, or whose gradients are not.
fn non_finite_paths<M: Module>(model: &M, grads: Option<&GradientsParams>) -> Vec<String> {
    let found = Finite::of(model, grads).into_iter();
    found
        .filter_map(|(path, flag)| (!flag.into_scalar::<bool>()).then_some(path))
        .collect()
}

/// `true` for each tensor whose values are all finite.
struct Finite<'a> {
    grads: Option<&'a GradientsParams>,
    found: Vec<(String, Tensor<1, Bool>)>,
}

impl<'a> Finite<'a> {
    fn of<M: Module>(
        model: &M,
        grads: Option<&'a GradientsParams>,
    ) -> Vec<(String, Tensor<1, Bool>)> {
        let mut all = Self {
            grads,
            found: Vec::new(),
        };
        match grads {
            // All places of a shared parameter have one gradient.
            Some(_) => visit_distinct(model, &mut Paths::new(&mut all)),
            None => visit_paths(model, &mut all),
        }
        all.found
    }
}

impl PathVisitor for Finite<'_> {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        let values = match self.grads {
            Some(grads) => grads.get::<D>(param.id),
            None => Some(param.base().without_autodiff()),
        };
        if let Some(values) = values
            && values.shape().num_elements() > 0
        {
            self.found.push((path.join(), values.is_finite().all()));
        }
    }
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scale) = self.min_scale {
            let still = "and a gradient is still not finite";
            write!(f, "the loss scale is at its minimum, {scale}, {still}: ")?;
        }
        match (&self.gradients[..], &self.parameters[..], &self.skipped) {
            ([], [], Some(reason)) => write!(f, "the step is skipped ({reason})")?,
            (gradients, parameters, _) => {
                write!(f, "NaN or infinite values")?;
                if !gradients.is_empty() {
                    write!(f, " in the gradients of {}", gradients.join(", "))?;
                }
                if !parameters.is_empty() {
                    write!(f, " in the parameters {}", parameters.join(", "))?;
                }
            }
        }
        if self.skips > 0 {
            write!(f, ", after {} skipped steps in a row", self.skips)?;
        }
        write!(f, ", since step {}", self.since)?;
        if let Some(loss) = self.loss {
            write!(f, "; the loss of the last batch is {loss}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_skipped_steps_begins_with_its_first() {
        let none = SkippedSteps::default();
        assert_eq!(none.since(7), 7);
        let row = none.and(7).and(8);
        assert_eq!((row.count, row.since(9)), (2, 7));
    }
}
