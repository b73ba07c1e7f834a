use burn::{
    module::Param,
    optim::GradientsParams,
    tensor::{DType, Tensor},
    train::LearnerModel,
};

use super::{Callback, CallbackResult, OptimizerStep, TrainingRun};
use crate::base::{
    bounds::Bounds,
    distinct::visit_distinct,
    path_visitor::{ModulePath, PathVisitor, Paths},
};

/// Logs gradient norms every `n` optimizer steps: the norm over all parameters, and the largest and
/// smallest norm of one parameter. A shared parameter counts once. The norms are those before the
/// model clips them.
pub struct GradientStatistics {
    every: usize,
}

impl GradientStatistics {
    /// Creates a callback that logs every `every` optimizer steps.
    ///
    /// # Panics
    ///
    /// If `every` is 0.
    #[track_caller]
    pub fn every(every: usize) -> Self {
        Bounds::COUNT.assert("every", every);
        Self { every }
    }
}

impl<M: LearnerModel> Callback<M> for GradientStatistics {
    fn name(&self) -> &str {
        "gradient_statistics"
    }

    fn before_optimizer_step(
        &mut self,
        run: &mut TrainingRun<M>,
        step: &mut OptimizerStep<'_>,
    ) -> CallbackResult {
        if !run.position().step.is_multiple_of(self.every) {
            return Ok(());
        }
        let mut squares = Squares {
            grads: step.grads,
            found: Vec::new(),
        };
        visit_distinct(&run.model(), &mut Paths::new(&mut squares));
        let (paths, sums): (Vec<_>, Vec<_>) = squares.found.into_iter().unzip();
        if sums.is_empty() {
            return Ok(());
        }
        let norms: Vec<f32> = Tensor::cat(sums, 0).sqrt().try_into_vec_as()?;
        let total = norms
            .iter()
            .map(|norm| f64::from(*norm).powi(2))
            .sum::<f64>();
        let by_norm = |a: &(&String, f32), b: &(&String, f32)| a.1.total_cmp(&b.1);
        let pairs = || paths.iter().zip(norms.iter().copied());
        let (largest, max) = pairs().max_by(by_norm).expect("there are gradients");
        let (smallest, min) = pairs().min_by(by_norm).expect("there are gradients");
        run.notify_values(
            "gradient_statistics",
            format!("the gradient of {largest} is the largest, of {smallest} the smallest"),
            [
                ("norm", total.sqrt()),
                ("largest", f64::from(max)),
                ("smallest", f64::from(min)),
            ],
        );
        Ok(())
    }
}

/// Sum of squares of each gradient.
struct Squares<'a> {
    grads: &'a GradientsParams,
    found: Vec<(String, Tensor<1>)>,
}

impl PathVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            let squares = grad.cast(DType::F32).square().sum();
            self.found.push((path.join(), squares));
        }
    }
}
