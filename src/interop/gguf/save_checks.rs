//! Models that a file would not describe.

use super::{Architecture, GgmlType, GgufError, SaveOptions, rope};
use crate::{
    interop::{CausalLm, PretrainedLm},
    nn::{BitNetLmConfig, GatedActivation, QkNorm},
};

/// Refuses a model that programs which read the file would not compute.
pub(super) fn check(
    model: &PretrainedLm,
    architecture: Architecture,
    options: &SaveOptions,
) -> Result<(), GgufError> {
    let config = &model.config;
    if config.activation == GatedActivation::SquaredRelu && !options.squared_relu {
        return Err(GgufError::model(
            "the model has squared ReLU, and llama.cpp computes SiLU whatever the file says, as \
             bitnet.cpp does since July 2026: their outputs would be wrong. Train with SiLU, or allow \
             it for programs that know better (SaveOptions::with_squared_relu)",
        ));
    }
    let squared_relu = config.activation == GatedActivation::SquaredRelu;
    if squared_relu && architecture == Architecture::Llama && options.weights == GgmlType::I2_S {
        return Err(GgufError::model(
            "no program that reads I2_S computes squared ReLU without norms before the last \
             projections: choose TQ2_0, which is read here",
        ));
    }
    if architecture == Architecture::BitNet && !config.tied_embeddings {
        return Err(GgufError::model(
            "llama.cpp's bitnet takes the embedding table for the head, and this model has a head of \
             its own: train with tied_embeddings",
        ));
    }
    check_heads(config, architecture)?;
    rope::check(config, architecture)?;
    match &model.lm {
        CausalLm::Full(_) if options.weights.is_ternary() => Err(GgufError::model(format!(
            "{} holds codes -1, 0 and 1, and the weights are in full precision: make a BitNet model \
             of them and train it, or choose F16",
            options.weights
        ))),
        CausalLm::Qat(lm) => {
            check_packable(lm.projections().map(|(n, p)| (n, p.is_b1_58_weight())))
        }
        CausalLm::Packed(lm) => {
            check_packable(lm.projections().map(|(n, p)| (n, p.is_b1_58_weight())))
        }
        CausalLm::FourBit(_) => Err(GgufError::model(
            "GGUF has no type for the weights of 4 bits of bitsandbytes: dequantize the model first \
             (CausalLm::dequantize)",
        )),
        CausalLm::Full(_) => Ok(()),
    }
}

/// Refuses what llama.cpp's graph of the architecture does not compute.
fn check_heads(config: &BitNetLmConfig, architecture: Architecture) -> Result<(), GgufError> {
    let bias = match architecture {
        Architecture::Llama | Architecture::Qwen2 => true,
        Architecture::BitNet | Architecture::Qwen3 => config.bias.is_none(),
    };
    let qk_norm = config.qk_norm == QkNorm::None || architecture == Architecture::Qwen3;
    let share = config.d_model == config.head_size() * config.n_heads;
    let whole = config.rotary().rotary_size() == config.head_size();
    for (what, fits) in [
        ("these biases", bias),
        ("norms of queries and keys", qk_norm),
        (
            "heads of another size than d_model / n_heads",
            share || architecture.has_head_size(),
        ),
        (
            "heads that are rotated in part",
            whole || architecture.has_partial_rotary(),
        ),
    ] {
        if !fits {
            let name = architecture.name();
            return Err(GgufError::model(format!(
                "the model has {what}, and llama.cpp's {name} has none"
            )));
        }
    }
    Ok(())
}

fn check_packable(mut projections: impl Iterator<Item = (String, bool)>) -> Result<(), GgufError> {
    match projections.find(|(_, packable)| !packable) {
        Some((name, _)) => Err(GgufError::model(format!(
            "{name} is not quantized in full to -1, 0 and 1 with one scale, or its input is rotated"
        ))),
        None => Ok(()),
    }
}
