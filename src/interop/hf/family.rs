use crate::nn::BitNetLmConfig;

/// Architectures, by the name in `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Family {
    /// `BitNetForCausalLM` of transformers, microsoft/bitnet-b1.58-2B-4T: norms before the last
    /// projections of the blocks.
    BitNet,
    /// `BitnetForCausalLM` of 1bitLLM/bitnet_b1_58: the same with other names for these norms.
    OneBitLlm,
    /// `LlamaForCausalLM`, in full precision or quantised, as HF1BitLLM, Falcon3 and Falcon-E: no
    /// norms before the last projections.
    Llama,
}

impl Family {
    /// The family of an architecture in `config.json`.
    pub fn of(architecture: &str) -> Option<Self> {
        match architecture {
            "BitNetForCausalLM" => Some(Self::BitNet),
            "BitnetForCausalLM" => Some(Self::OneBitLlm),
            "LlamaForCausalLM" => Some(Self::Llama),
            _ => None,
        }
    }

    /// The family that a model is written as.
    pub fn for_config(config: &BitNetLmConfig) -> Self {
        match config.sub_norm {
            true => Self::BitNet,
            false => Self::Llama,
        }
    }

    /// The architecture in `config.json`.
    pub fn architecture(self) -> &'static str {
        match self {
            Self::BitNet => "BitNetForCausalLM",
            Self::OneBitLlm => "BitnetForCausalLM",
            Self::Llama => "LlamaForCausalLM",
        }
    }

    /// The `model_type` in `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::BitNet | Self::OneBitLlm => "bitnet",
            Self::Llama => "llama",
        }
    }

    /// Whether blocks have norms before their last projections.
    pub fn has_sub_norm(self) -> bool {
        self != Self::Llama
    }

    /// The name of a parameter in a file, by its path in [`BitNetLm`](crate::nn::BitNetLm).
    pub(super) fn tensor_name(self, path: &str) -> String {
        let name = match path.strip_suffix(".gamma") {
            Some(norm) => format!("{norm}.weight"),
            None => path.to_string(),
        };
        match self {
            Self::OneBitLlm => name
                .replace("self_attn.attn_sub_norm", "self_attn.inner_attn_ln")
                .replace("mlp.ffn_sub_norm", "mlp.ffn_layernorm"),
            _ => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_family() {
        let path = "model.layers.3.mlp.ffn_sub_norm.gamma";
        let name = |family: Family| family.tensor_name(path);
        assert_eq!(
            name(Family::BitNet),
            "model.layers.3.mlp.ffn_sub_norm.weight"
        );
        assert_eq!(
            name(Family::OneBitLlm),
            "model.layers.3.mlp.ffn_layernorm.weight"
        );
        for family in [Family::BitNet, Family::OneBitLlm, Family::Llama] {
            assert_eq!(Family::of(family.architecture()), Some(family));
        }
    }
}
