//! Names of formats and types in flags.

use bitnet_burn::{
    interop::{gguf::GgmlType, hf::Family},
    quant::FourBitType,
};
use burn::tensor::FloatDType;

use crate::choice::Choice;

/// Data types of floats in files.
pub const DTYPES: [Choice<FloatDType>; 3] = [
    ("f32", "", FloatDType::F32),
    ("f16", "", FloatDType::F16),
    ("bf16", "", FloatDType::BF16),
];

pub(super) const FOUR_BIT_TYPES: [Choice<FourBitType>; 2] = [
    (
        "nf4",
        "quantiles of the normal distribution",
        FourBitType::Nf4,
    ),
    ("fp4", "floats of 4 bits", FourBitType::Fp4),
];

pub(super) const FAMILIES: [Choice<Family>; 6] = [
    (
        "bitnet",
        "BitNetForCausalLM of transformers",
        Family::BitNet,
    ),
    ("1bitllm", "BitnetForCausalLM of 1bitLLM", Family::OneBitLlm),
    ("llama", "LlamaForCausalLM", Family::Llama),
    ("mistral", "MistralForCausalLM", Family::Mistral),
    ("qwen2", "Qwen2ForCausalLM", Family::Qwen2),
    ("qwen3", "Qwen3ForCausalLM", Family::Qwen3),
];

pub(super) const TYPES: [Choice<GgmlType>; 7] = [
    ("F32", "", GgmlType::F32),
    ("F16", "", GgmlType::F16),
    ("BF16", "", GgmlType::BF16),
    ("Q8_0", "", GgmlType::Q8_0),
    ("TQ1_0", "", GgmlType::TQ1_0),
    ("TQ2_0", "", GgmlType::TQ2_0),
    ("I2_S", "", GgmlType::I2_S),
];

/// Parses a size as transformers writes it: `5GB`, `500MB`, `200KB`, or a number of bytes.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let upper = text.to_ascii_uppercase();
    let units = [
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("KB", 1_000),
        ("B", 1),
    ];
    let unit = units.into_iter().find(|(unit, _)| upper.ends_with(unit));
    let (digits, factor) = match unit {
        Some((unit, factor)) => (&upper[..upper.len() - unit.len()], factor),
        None => (upper.as_str(), 1),
    };
    let count: Option<usize> = digits.trim().parse().ok();
    let bytes = count.and_then(|count| count.checked_mul(factor));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "expected a size such as 500MB or 5GB".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("5GB"), Ok(5_000_000_000));
        assert_eq!(size("20 kb"), Ok(20_000));
        assert_eq!(size("7"), Ok(7));
        for wrong in ["", "GB", "-1MB", "0", "5TB", "99999999999GB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
