use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use burn::train::LearnerModel;

use super::{Callback, CallbackResult, TrainingRun};

/// Ends a training after the current step on an external request, such as Ctrl-C.
///
/// With [checkpoints](crate::train::CallbackStrategy::with_checkpoints) the step is saved, and the
/// training can resume from it.
///
/// # Example
///
/// ```
/// use std::sync::atomic::Ordering;
///
/// use bitnet_burn::train::callback::Interruption;
///
/// let interruption = Interruption::new();
/// let flag = interruption.flag();
/// // In the signal handler:
/// flag.store(true, Ordering::SeqCst);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Interruption {
    flag: Arc<AtomicBool>,
}

impl Interruption {
    /// Creates an interruption with its own flag.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an interruption with an existing flag.
    pub fn with_flag(flag: Arc<AtomicBool>) -> Self {
        Self { flag }
    }

    /// Returns the flag that ends the training when it is set.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.flag.clone()
    }

    fn look<M: LearnerModel>(&self, run: &mut TrainingRun<M>) {
        if self.flag.load(Ordering::SeqCst) && !run.is_stopping() {
            run.stop("interruption", "it was asked to");
        }
    }
}

impl<M: LearnerModel> Callback<M> for Interruption {
    fn name(&self) -> &str {
        "interruption"
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        self.look(run);
        Ok(())
    }

    // Not during a validation, whose metrics would be incomplete.
    fn on_epoch_end(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        self.look(run);
        Ok(())
    }
}
