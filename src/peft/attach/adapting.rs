use std::collections::HashMap;

use burn::{
    module::{Module, Param, Reparameterizer},
    nn::Linear,
    tensor::Tensor,
};

use super::{adapted_weight::AdaptedWeight, error::AttachError, quantized_part::QuantizedPart};
use crate::{
    peft::{AdaptedModule, LoraConfig, PeftError, lora_config::CompiledLora},
    qat::FakeQuant,
};

/// Kind of a base with a fake quantizer, for messages.
const QUANTIZED: &str = "fake-quantized";

/// Attaches adapters to weights.
pub(super) struct Adapting<'a> {
    pub(super) config: &'a LoraConfig,
    pub(super) part: QuantizedPart,
    pub(super) compiled: CompiledLora,
    /// Names of the modules by the paths of their weights.
    pub(super) modules: HashMap<String, String>,
    /// Fake quantizers of the weights.
    pub(super) quantizers: HashMap<String, FakeQuant>,
    /// The modules that got an adapter.
    pub(super) adapted: &'a mut Vec<AdaptedModule>,
    /// The first failure.
    pub(super) result: &'a mut Result<(), AttachError>,
}

impl Adapting<'_> {
    /// Returns the weight that an adapter is added to.
    fn initial<const D: usize>(
        &self,
        module: &str,
        weight: Tensor<D>,
        fake_quant: Option<&FakeQuant>,
    ) -> Result<Tensor<D>, PeftError> {
        match (self.part, fake_quant) {
            (QuantizedPart::Sum, _) | (_, None) => Ok(weight),
            (QuantizedPart::Base, Some(_)) if self.config.init.changes_base() => {
                Err(PeftError::FixedBase {
                    module: module.to_string(),
                    init: self.config.init.to_string(),
                    base: QUANTIZED,
                })
            }
            // As in evaluation, without the noise of training.
            (QuantizedPart::Base, Some(quantizer)) => {
                Ok(quantizer.valid().forward(weight.without_autodiff()))
            }
        }
    }

    fn adapt<const D: usize>(
        &mut self,
        path: &str,
        module: &str,
        param: Param<Tensor<D>>,
    ) -> Result<(Param<Tensor<D>>, AdaptedWeight), AttachError> {
        let weight = param.base();
        if !weight.dtype().is_float() {
            let (path, dtype) = (path.to_string(), weight.dtype());
            return Err(AttachError::Packed { path, dtype });
        }
        let fake_quant = self.quantizers.remove(path);
        let initial = self.initial(module, weight, fake_quant.as_ref())?;
        let [d_input, d_output] = [initial.dims()[0], initial.dims()[1]];
        let linear = Linear {
            weight: Param::from_tensor(initial.reshape([d_input, d_output])).no_grad(),
            bias: None,
        };
        let (linear, lora) =
            (self.config).lora(&self.compiled, module, linear, &param.lazy_device())?;
        let param = match self.config.init.changes_base() {
            true => param.map(|old| linear.weight.base().reshape(old.shape())),
            false => param,
        };
        self.adapted.push(AdaptedModule {
            name: module.to_string(),
            num_params: lora.num_params(),
        });
        Ok((param, AdaptedWeight::new(lora, fake_quant, self.part)))
    }
}

impl Reparameterizer for Adapting<'_> {
    type Reparam = AdaptedWeight;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<AdaptedWeight>) {
        let Some(module) = self.modules.remove(path) else {
            return (param, None);
        };
        match self.adapt(path, &module, param.clone()) {
            Ok((param, adapted)) => (param, Some(adapted)),
            Err(error) => {
                // The model is dropped with the first failure.
                if self.result.is_ok() {
                    *self.result = Err(error);
                }
                (param, None)
            }
        }
    }
}
