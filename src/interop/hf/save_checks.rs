//! Models that a folder cannot hold.

use super::{Family, HfError, SaveOptions, WeightForm};
use crate::{
    interop::{CausalLm, PretrainedLm},
    nn::{BitLinear, BitNetLm, Linear4bit, PackedBitLinear, Projection},
    quant::FourBitConfig,
};

/// Family that a model is written as, with the form that the options ask for. The projections of
/// `full_precision` are not quantized.
pub(super) fn family(
    model: &PretrainedLm,
    options: &SaveOptions,
    full_precision: &[String],
) -> Result<Family, HfError> {
    let family = options.family.unwrap_or(Family::for_config(&model.config));
    if let Some(problem) = family.problem(&model.config) {
        return Err(HfError::unwritable(problem));
    }
    if family == Family::OneBitLlm && matches!(options.form, WeightForm::Packed(_)) {
        return Err(HfError::unwritable(
            "folders of 1bitLLM hold latent weights: write packed ones as BitNetForCausalLM",
        ));
    }
    if family == Family::OneBitLlm && matches!(options.form, WeightForm::FourBit { .. }) {
        return Err(HfError::unwritable(
            "folders of 1bitLLM hold latent weights, and none of 4 bits: write BitNetForCausalLM",
        ));
    }
    check_form(&model.lm, options.form)?;
    match full_precision
        .first()
        .filter(|_| family == Family::OneBitLlm)
    {
        Some(name) => Err(HfError::unwritable(format!(
            "folders of 1bitLLM have no word for projections in full precision, such as {name}: write the \
             model as BitNetForCausalLM"
        ))),
        None => Ok(family),
    }
}

/// Refuses forms that a model does not have.
fn check_form(lm: &CausalLm, form: WeightForm) -> Result<(), HfError> {
    match (lm, form) {
        (CausalLm::Full(_), WeightForm::Packed(_)) => Err(HfError::unwritable(
            "weights in full precision cannot be packed: make the model a BitNet model first \
             (BitNetLm::into_bitnet) and train it, or its outputs will be far off",
        )),
        (CausalLm::Packed(_), WeightForm::Float(_)) => Err(HfError::unwritable(
            "a packed model has no latent weights any more: programs that quantize again what was \
             unpacked take a smaller scale; write it packed",
        )),
        (CausalLm::Qat(_) | CausalLm::Packed(_), WeightForm::FourBit { .. }) => {
            Err(HfError::unwritable(
                "a model trained to codes -1, 0 and 1 is another one in 4 bits: write it packed",
            ))
        }
        (CausalLm::FourBit(_), WeightForm::Float(_) | WeightForm::Packed(_)) => {
            Err(HfError::unwritable(
                "the weights are codes of 4 bits: write them so (WeightForm::FourBit), or dequantize the model \
                 first (CausalLm::dequantize)",
            ))
        }
        (CausalLm::FourBit(lm), WeightForm::FourBit { config, .. }) => check_four_bit(lm, &config),
        (CausalLm::Full(_), WeightForm::Float(_)) => Ok(()),
        (CausalLm::Full(_), WeightForm::FourBit { config, .. }) => {
            let checked = config.validate();
            checked.map_err(|error| HfError::unwritable(error.to_string()))
        }
        (CausalLm::Qat(lm), _) => check_b1_58(lm, |p| p.is_b1_58() || p.is_full_precision()),
        (CausalLm::Packed(lm), _) => check_b1_58(lm, |p| p.is_b1_58() || p.is_full_precision()),
    }
}

/// Refuses weights that were quantized in another way.
fn check_four_bit(lm: &BitNetLm<Linear4bit>, config: &FourBitConfig) -> Result<(), HfError> {
    let mut quantized = lm.projections().filter(|(_, p)| !p.is_full_precision());
    match quantized.find(|(_, p)| p.weight.config() != config) {
        Some((name, p)) => Err(HfError::unwritable(format!(
            "{name} is {}, not {config}: write the model as it is, or dequantize it first (CausalLm::dequantize)",
            p.weight.config()
        ))),
        None => Ok(()),
    }
}

/// The projections of a quantized model that stay in full precision.
pub(super) fn full_precision(lm: &CausalLm) -> Vec<String> {
    match lm {
        CausalLm::Full(_) => Vec::new(),
        CausalLm::Qat(lm) => paths(lm, BitLinear::is_full_precision),
        CausalLm::Packed(lm) => paths(lm, PackedBitLinear::is_full_precision),
        CausalLm::FourBit(lm) => paths(lm, Linear4bit::is_full_precision),
    }
}

fn paths<P: Projection>(lm: &BitNetLm<P>, are: impl Fn(&P) -> bool) -> Vec<String> {
    let projections = lm.projections().filter(|(_, projection)| are(projection));
    projections.map(|(path, _)| path).collect()
}

fn check_b1_58<P: Projection>(lm: &BitNetLm<P>, is: impl Fn(&P) -> bool) -> Result<(), HfError> {
    match lm.projections().find(|(_, projection)| !is(projection)) {
        Some((name, _)) => Err(HfError::unwritable(format!(
            "{name} is not quantized as BitNet b1.58 (one absmean scale, 8-bit inputs with a scale per \
             token, no rotation, quantized in full), which is all that transformers computes"
        ))),
        None => Ok(()),
    }
}
