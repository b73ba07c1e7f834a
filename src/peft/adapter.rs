use burn::{
    module::{Content, DisplaySettings, Module, ModuleDisplay, ModuleVisitor, Param, ParamId},
    tensor::{Device, Tensor},
};

use super::{
    AdaLora, AdapterBase, BitFit, Ia3, Lora, PeftError,
    adapter_method::{AdapterMethod, BasePass, Merged},
};
use crate::nn::SavedInput;

/// An adapter of one projection, by its method.
#[derive(Module, Debug, derive_more::From)]
#[module(custom_display)]
pub enum Adapter {
    /// Product of two factors of low rank beside the weight.
    Lora(Lora),
    /// Product of two factors of low rank with a value for each direction.
    AdaLora(AdaLora),
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
            Adapter::AdaLora($method) => $value,
            Adapter::Ia3($method) => $value,
            Adapter::BitFit($method) => $value,
        }
    };
}

/// Creates the adapter of a projection from its name, the projection, and the device of the model; returns the
/// projection, whose weight an initialization may change, and the adapter.
pub(super) type Init<'a, P> = Box<dyn Fn(&str, P, &Device) -> Result<(P, Adapter), PeftError> + 'a>;

impl Adapter {
    /// Returns the LoRA adapter, if it is one.
    pub fn as_lora(&self) -> Option<&Lora> {
        match self {
            Self::Lora(lora) => Some(lora),
            _ => None,
        }
    }

    /// Returns the parameters that train, with their numbers of values.
    pub(super) fn trained(&self) -> Vec<(ParamId, usize)> {
        let mut trained = Sizes::default();
        self.visit(&mut trained);
        let constants = self.constants();
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

    fn constants(&self) -> Vec<ParamId> {
        each!(self, method => method.constants())
    }

    fn at_rest(&self) -> Option<Adapter> {
        each!(self, method => method.at_rest().map(Self::from))
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

    fn uses_base_output(&self) -> bool {
        each!(self, method => method.uses_base_output())
    }

    fn saved_input(&self) -> SavedInput {
        each!(self, method => method.saved_input())
    }

    fn draws_random_numbers(&self) -> bool {
        each!(self, method => method.draws_random_numbers())
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
