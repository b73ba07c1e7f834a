use burn::{module::ParamId, tensor::Tensor};

use super::AdapterBase;
use crate::nn::SavedInput;

/// Input and output of the base of an adapted projection, as an adapter sees them.
pub(super) struct BasePass<'a, P, const D: usize> {
    pub(super) base: &'a P,
    /// Returns the input of the base for one of the adapter, which adapters before it may change.
    pub(super) base_input: &'a dyn Fn(Tensor<D>) -> Tensor<D>,
    /// Input of the adapter, `[.., d_input]`.
    pub(super) x: Tensor<D>,
    /// Output of the base, `[.., d_output]`, for a method that uses it.
    pub(super) output: Option<Tensor<D>>,
}

impl<P: AdapterBase, const D: usize> BasePass<'_, P, D> {
    /// Returns the output of the base for another input of the adapter.
    pub(super) fn output_of(&self, x: Tensor<D>) -> Tensor<D> {
        self.base.forward((self.base_input)(x))
    }
}

/// Weight `[d_input, d_output]` and bias of a projection with adapters in them.
#[derive(Debug, Clone)]
pub(super) struct Merged {
    pub(super) weight: Tensor<2>,
    /// Weight of the base alone, with the changes of its input.
    pub(super) of_base: Tensor<2>,
    pub(super) bias: Option<Tensor<1>>,
}

/// Computation of a method beside a projection.
pub(super) trait AdapterMethod {
    /// Checks that the adapter fits a projection `[d_input, d_output]`.
    ///
    /// # Panics
    ///
    /// If it does not.
    #[track_caller]
    fn check(&self, size: [usize; 2]);

    /// Returns the parameters that do not train: factors that were subtracted from the base.
    fn constants(&self) -> Vec<ParamId> {
        Vec::new()
    }

    /// Returns the adapter that stands for this one where it is not active: `None` leaves the base as it is.
    fn at_rest(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// Returns the input that the base and the adapters before see.
    fn input<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        x
    }

    /// Returns the output with this adapter, from the output `y` of the base and the adapters before.
    fn output<P: AdapterBase, const D: usize>(
        &self,
        pass: &BasePass<'_, P, D>,
        y: Tensor<D>,
    ) -> Tensor<D>;

    /// Returns whether the output of the base itself is used, not only that with the adapters before.
    fn uses_base_output(&self) -> bool {
        false
    }

    /// Returns how backward gets the input: that of `A` of a LoRA adapter, whose `B` has an input of `rank` values.
    fn saved_input(&self) -> SavedInput {
        SavedInput::Kept
    }

    /// Returns whether its output in training depends on random numbers of the device.
    fn draws_random_numbers(&self) -> bool {
        false
    }

    /// Returns weight and bias with this adapter, of a projection with the weight `base` and the adapters before
    /// in `merged`, all without autodiff and in `f32`.
    fn merged(&self, base: &Tensor<2>, merged: Merged) -> Merged;
}
