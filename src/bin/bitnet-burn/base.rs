//! Forms of the base weights beside which adapters stand.

use bitnet_burn::{
    interop::CausalLm,
    nn::{BitLinear, BitNetLm, Linear4bit, PackedBitLinear, Projection},
    peft::AdapterBase,
    quant::FourBitConfig,
};
use burn::{module::Module, nn::Linear, tensor::FloatDType};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// Form of the base weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// Floats: full precision, or latent weights that are quantized in each pass
    Float,
    /// 16 bits: bf16, of which most files are, in half the memory of f32
    Bf16,
    /// 4 bits: NF4 with double quantization, as in QLoRA, or the codes of a model in 4 bits
    Nf4,
    /// 2 bits, for BitNet models
    Packed,
}

/// Model with base weights of one form.
pub enum BaseLm {
    Full(BitNetLm<Linear>),
    Latent(BitNetLm<BitLinear>),
    FourBit(BitNetLm<Linear4bit>),
    Packed(BitNetLm<PackedBitLinear>),
}

/// Task for a model with weights of any form.
pub trait LmTask {
    type Output;

    /// Runs the task with a model, and what makes it one of its form again.
    fn run<P: AdapterBase>(
        self,
        lm: BitNetLm<P>,
        form: fn(BitNetLm<P>) -> CausalLm,
    ) -> Result<Self::Output, Failure>;
}

impl BaseLm {
    /// Brings a model into a form; by default full precision, or packed if it is a BitNet model, which computes the
    /// same in less memory.
    pub fn new(lm: CausalLm, base: Option<Base>) -> Result<Self, Failure> {
        let form = lm.form();
        Ok(match (lm, base) {
            (CausalLm::Full(lm), None | Some(Base::Float)) => Self::Full(lm),
            (CausalLm::Full(lm), Some(Base::Bf16)) => {
                Self::Full(lm.with_projection_dtype(FloatDType::BF16))
            }
            (CausalLm::Full(lm), Some(Base::Nf4)) => {
                Self::FourBit(lm.into_four_bit(&FourBitConfig::default()))
            }
            (CausalLm::FourBit(lm), None | Some(Base::Nf4)) => Self::FourBit(lm),
            (CausalLm::FourBit(lm), Some(Base::Float)) => Self::Full(lm.dequantize()),
            (CausalLm::Qat(lm), Some(Base::Float)) => Self::Latent(lm),
            (CausalLm::Qat(lm), None | Some(Base::Packed)) => Self::Packed(lm.pack()),
            (CausalLm::Packed(lm), None | Some(Base::Packed)) => Self::Packed(lm),
            (_, Some(base)) => {
                let name = base
                    .to_possible_value()
                    .map(|name| name.get_name().to_string());
                return Err(Failure::usage(format!(
                    "--base {} does not fit a model with {form} weights",
                    name.unwrap_or_default()
                )));
            }
        })
    }

    pub fn run<T: LmTask>(self, task: T) -> Result<T::Output, Failure> {
        match self {
            Self::Full(lm) => task.run(lm, CausalLm::Full),
            Self::Latent(lm) => task.run(lm, CausalLm::Qat),
            Self::FourBit(lm) => task.run(lm, CausalLm::FourBit),
            Self::Packed(lm) => task.run(lm, CausalLm::Packed),
        }
    }
}

/// Returns a model with gradients; one of packed weights is loaded without.
pub fn trained<P: Projection>(lm: BitNetLm<P>) -> BitNetLm<P> {
    match lm.model.embed_tokens.weight.val().is_autodiff() {
        true => lm,
        false => lm.train(),
    }
}
