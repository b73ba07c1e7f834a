//! Forms of the weights of models that are saved as folders.

use bitnet_burn::{
    interop::{
        CausalLm,
        hf::{ScaleConvention, WeightForm},
    },
    nn::{BitNetLm, Linear4bit},
    quant::FourBitConfig,
};
use burn::tensor::FloatDType;

/// Returns the form of a folder that keeps the weights of a model as they are.
pub fn weight_form(lm: &CausalLm, dtype: FloatDType) -> WeightForm {
    match lm {
        CausalLm::FourBit(lm) => WeightForm::FourBit {
            config: four_bit_config(lm).unwrap_or_default(),
            dtype,
        },
        CausalLm::Packed(_) => WeightForm::Packed(ScaleConvention::Multiply),
        CausalLm::Full(_) | CausalLm::Qat(_) => WeightForm::Float(dtype),
    }
}

/// Returns the configuration of the weights of a model in 4 bits.
pub fn four_bit_config(lm: &BitNetLm<Linear4bit>) -> Option<FourBitConfig> {
    let mut projections = lm.projections().filter(|(_, p)| !p.is_full_precision());
    projections.next().map(|(_, p)| *p.weight.config())
}

/// Returns whether the output head of a model is its embedding table.
pub fn is_tied(lm: &CausalLm) -> bool {
    match lm {
        CausalLm::Full(lm) => lm.lm_head.is_none(),
        CausalLm::Qat(lm) => lm.lm_head.is_none(),
        CausalLm::Packed(lm) => lm.lm_head.is_none(),
        CausalLm::FourBit(lm) => lm.lm_head.is_none(),
    }
}
