use burn::{
    module::{
        Content, DisplaySettings, Module, ModuleDisplay, ModuleVisitor, Param, ParamId,
        list_param_ids,
    },
    tensor::Tensor,
};

use super::{AdapterBase, BitFit, Ia3, InitialFactors, Lora};

/// An adapter of one projection, by its method.
#[derive(Module, Debug, derive_more::From)]
#[module(custom_display)]
pub enum Adapter {
    /// Product of two factors of low rank beside the weight.
    Lora(Lora),
    /// Factor of each output, or of each input.
    Ia3(Ia3),
    /// Difference of the bias.
    BitFit(BitFit),
}

/// Evaluates an expression on the method of an adapter.
macro_rules! each {
    ($adapter:expr, $method:ident => $value:expr) => {
        match $adapter {
            Adapter::Lora($method) => $value,
            Adapter::Ia3($method) => $value,
            Adapter::BitFit($method) => $value,
        }
    };
}

/// Input and output of the base of an adapted projection, as an adapter sees them.
pub(super) struct BasePass<'a, P, const D: usize> {
    pub(super) base: &'a P,
    /// Adapters before this one, which change the input of the base.
    pub(super) before: &'a [&'a Adapter],
    /// Input of the adapter, `[.., d_input]`.
    pub(super) x: Tensor<D>,
    /// Output of the base, `[.., d_output]`.
    pub(super) output: Tensor<D>,
}

impl<P: AdapterBase, const D: usize> BasePass<'_, P, D> {
    /// Returns the output of the base for another input of the adapter.
    pub(super) fn output_of(&self, x: Tensor<D>) -> Tensor<D> {
        let before = self.before.iter().rev();
        self.base
            .forward(before.fold(x, |x, adapter| adapter.input(x)))
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

    /// Returns the factors that were subtracted from the base, which do not train.
    fn initial(&self) -> Option<&InitialFactors> {
        None
    }

    /// Returns the adapter that stands for this one where it is not active: `None` leaves the base as it is.
    fn at_rest(&self) -> Option<Adapter> {
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

    /// Returns whether the input is saved for backward: that of `A` of a LoRA adapter, whose `B` has an input of `rank`
    /// values.
    fn saves_input(&self) -> bool {
        true
    }

    /// Returns weight and bias with this adapter, of a projection with the weight `base` and the adapters before
    /// in `merged`, all without autodiff and in `f32`.
    fn merged(&self, base: &Tensor<2>, merged: Merged) -> Merged;
}

impl Adapter {
    /// Returns the parameters that train, with their numbers of values.
    pub(super) fn trained(&self) -> Vec<(ParamId, usize)> {
        let mut trained = Sizes::default();
        self.visit(&mut trained);
        let constants = self.initial().map(list_param_ids).unwrap_or_default();
        trained.0.retain(|(id, _)| !constants.contains(id));
        trained.0
    }
}

/// Numbers of values of float parameters.
#[derive(Default)]
struct Sizes(Vec<(ParamId, usize)>);

impl ModuleVisitor for Sizes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push((param.id, param.shape().num_elements()));
    }
}

impl AdapterMethod for Adapter {
    fn check(&self, size: [usize; 2]) {
        each!(self, method => method.check(size));
    }

    fn initial(&self) -> Option<&InitialFactors> {
        each!(self, method => method.initial())
    }

    fn at_rest(&self) -> Option<Adapter> {
        each!(self, method => method.at_rest())
    }

    fn input<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        each!(self, method => method.input(x))
    }

    fn output<P: AdapterBase, const D: usize>(
        &self,
        pass: &BasePass<'_, P, D>,
        y: Tensor<D>,
    ) -> Tensor<D> {
        each!(self, method => method.output(pass, y))
    }

    fn saves_input(&self) -> bool {
        each!(self, method => method.saves_input())
    }

    fn merged(&self, base: &Tensor<2>, merged: Merged) -> Merged {
        each!(self, method => method.merged(base, merged))
    }
}

impl ModuleDisplay for Adapter {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        each!(self, method => method.custom_settings())
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        each!(self, method => method.custom_content(content))
    }
}
