use crate::{
    interop::architecture::Parameter,
    nn::{BitNetLmConfig, GatedActivation, ProjectionBias, QkNorm, RopeScaling},
};

/// Architectures, by the name in `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Family {
    /// `BitNetForCausalLM` of transformers, microsoft/bitnet-b1.58-2B-4T: norms before the last
    /// projections of the blocks.
    BitNet,
    /// `BitnetForCausalLM` of 1bitLLM/bitnet_b1_58: the same with other names for these norms.
    OneBitLlm,
    /// `LlamaForCausalLM`, in full precision or quantized, as HF1BitLLM, Falcon3 and Falcon-E: no
    /// norms before the last projections.
    Llama,
    /// `MistralForCausalLM`: Llama without biases, whose attention looks back as far as its
    /// `sliding_window`.
    Mistral,
    /// `Qwen2ForCausalLM`: biases of queries, keys and values.
    Qwen2,
    /// `Qwen3ForCausalLM`: norms of queries and keys.
    Qwen3,
}

/// The values of fields that a `config.json` does not have.
pub(super) struct Defaults {
    /// `None` for as many as query heads.
    pub n_kv_heads: Option<usize>,
    /// `None` for `hidden_size / num_attention_heads`.
    pub d_head: Option<usize>,
    pub max_positions: usize,
    pub rms_norm_epsilon: f64,
    pub rope_theta: f64,
    pub activation: GatedActivation,
    /// Positions that a query looks back on.
    pub sliding_window: Option<usize>,
}

impl Family {
    /// All of them; a model is written as the first that it fits.
    const ALL: [Self; 6] = [
        Self::BitNet,
        Self::Llama,
        Self::Qwen2,
        Self::Qwen3,
        Self::Mistral,
        Self::OneBitLlm,
    ];

    /// The family of an architecture in `config.json`.
    pub(super) fn of(architecture: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|family| family.architecture() == architecture)
    }

    /// The family of a `model_type`, for files that name no architecture.
    pub(super) fn of_model_type(model_type: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|family| family.model_type() == model_type)
    }

    /// The names of all architectures, for an error.
    pub(super) fn names() -> String {
        Self::ALL.map(Self::architecture).join(", ")
    }

    /// The family that a model is written as: the first that it fits; for those that fit none, the one with
    /// its norms before the last projections.
    pub(super) fn for_config(config: &BitNetLmConfig) -> Self {
        let fits = |family: &Self| family.problem(config).is_none();
        let nearest = match config.sub_norm {
            true => Self::BitNet,
            false => Self::Llama,
        };
        Self::ALL.into_iter().find(fits).unwrap_or(nearest)
    }

    /// Why a model cannot be written as this family; `None` if it can.
    pub(super) fn problem(self, config: &BitNetLmConfig) -> Option<String> {
        let name = self.architecture();
        if self.has_sub_norm() != config.sub_norm {
            let has = ["no ", ""][usize::from(config.sub_norm)];
            return Some(format!(
                "{name} is the other kind: this model has {has}norms before its last projections"
            ));
        }
        let (d_model, n_heads) = (config.d_model, config.n_heads);
        let whole_heads = d_model.is_multiple_of(n_heads);
        let own_heads = match self {
            Self::Llama => whole_heads,
            // The norm before the output projection has the size of the model.
            Self::BitNet | Self::OneBitLlm => n_heads * config.head_size() == d_model,
            _ => true,
        };
        let longrope = matches!(config.rope_scaling, Some(RopeScaling::Longrope { .. }));
        let has = match () {
            () if !self.biases().contains(&config.bias) => "the biases",
            () if self.qk_norm() != config.qk_norm => "the norms of queries and keys",
            () if config.rotary().rotary_size() != config.head_size() => "heads rotated in part",
            () if !own_heads => "heads of the size",
            () if longrope && self == Self::OneBitLlm => "the rope scaling",
            () => return None,
        };
        Some(format!("{name} has not {has} of this model"))
    }

    /// The biases that a model can have.
    fn biases(self) -> &'static [ProjectionBias] {
        const ATTENTION: [ProjectionBias; 2] = [ProjectionBias::NONE, ProjectionBias::ATTENTION];
        match self {
            Self::BitNet | Self::OneBitLlm | Self::Qwen3 => &ATTENTION,
            Self::Llama => {
                const ALL: [ProjectionBias; 4] = [
                    ProjectionBias::NONE,
                    ProjectionBias::ATTENTION,
                    ProjectionBias::new(false, false, true),
                    ProjectionBias::new(true, true, true),
                ];
                &ALL
            }
            Self::Mistral => &[ProjectionBias::NONE],
            Self::Qwen2 => &[ProjectionBias::QKV],
        }
    }

    /// The norm of queries and keys.
    pub(super) fn qk_norm(self) -> QkNorm {
        match self {
            Self::Qwen3 => QkNorm::PerHead,
            _ => QkNorm::None,
        }
    }

    /// The architecture in `config.json`.
    pub fn architecture(self) -> &'static str {
        match self {
            Self::BitNet => "BitNetForCausalLM",
            Self::OneBitLlm => "BitnetForCausalLM",
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    /// The `model_type` in `config.json`.
    pub(super) fn model_type(self) -> &'static str {
        match self {
            Self::BitNet | Self::OneBitLlm => "bitnet",
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// Whether blocks have norms before their last projections.
    pub(super) fn has_sub_norm(self) -> bool {
        matches!(self, Self::BitNet | Self::OneBitLlm)
    }

    /// The values of the configuration classes of transformers 5.
    pub(super) fn defaults(self) -> Defaults {
        let llama = Defaults {
            n_kv_heads: None,
            d_head: None,
            max_positions: 2048,
            rms_norm_epsilon: 1e-6,
            rope_theta: 10_000.0,
            activation: GatedActivation::Silu,
            sliding_window: None,
        };
        match self {
            Self::Llama => llama,
            Self::BitNet => Defaults {
                n_kv_heads: Some(5),
                rms_norm_epsilon: 1e-5,
                rope_theta: 500_000.0,
                activation: GatedActivation::SquaredRelu,
                ..llama
            },
            Self::OneBitLlm => Defaults {
                rms_norm_epsilon: 1e-5,
                ..llama
            },
            Self::Mistral => Defaults {
                n_kv_heads: Some(8),
                max_positions: 131_072,
                sliding_window: Some(4096),
                ..llama
            },
            Self::Qwen2 => Defaults {
                n_kv_heads: Some(32),
                max_positions: 32_768,
                sliding_window: Some(4096),
                ..llama
            },
            Self::Qwen3 => Defaults {
                n_kv_heads: Some(32),
                d_head: Some(128),
                max_positions: 32_768,
                sliding_window: Some(4096),
                ..llama
            },
        }
    }

    /// Name of a parameter in a folder.
    pub(super) fn tensor_name(self, parameter: &Parameter) -> String {
        match self {
            Self::OneBitLlm => parameter.one_bit_llm.clone(),
            _ => parameter.hf.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interop::architecture::parameters;

    #[test]
    fn names_are_those_of_the_family() {
        let table = parameters(&BitNetLmConfig::new(8, 16, 4, 4, 24));
        let names = |family: Family| -> Vec<String> {
            let layer = table.iter().filter(|p| p.path.contains("layers.3."));
            layer.map(|p| family.tensor_name(p)).collect()
        };
        for (family, norm) in [
            (Family::BitNet, "model.layers.3.mlp.ffn_sub_norm.weight"),
            (
                Family::BitNet,
                "model.layers.3.self_attn.attn_sub_norm.weight",
            ),
            (Family::OneBitLlm, "model.layers.3.mlp.ffn_layernorm.weight"),
            (
                Family::OneBitLlm,
                "model.layers.3.self_attn.inner_attn_ln.weight",
            ),
        ] {
            assert!(names(family).iter().any(|name| name == norm), "{norm}");
        }
        for family in Family::ALL {
            assert_eq!(Family::of(family.architecture()), Some(family));
        }
    }

    #[test]
    fn a_model_is_written_as_the_family_that_has_its_parts() {
        let config = || BitNetLmConfig::new(8, 16, 1, 4, 24).with_sub_norm(false);
        for (config, family) in [
            (config().with_sub_norm(true), Family::BitNet),
            (config(), Family::Llama),
            (config().with_d_head(Some(6)), Family::Llama),
            (config().with_bias(ProjectionBias::ATTENTION), Family::Llama),
            (config().with_bias(ProjectionBias::QKV), Family::Qwen2),
            (config().with_qk_norm(QkNorm::PerHead), Family::Qwen3),
            (
                BitNetLmConfig::new(8, 18, 1, 4, 24)
                    .with_sub_norm(false)
                    .with_d_head(Some(6)),
                Family::Mistral,
            ),
        ] {
            assert_eq!(Family::for_config(&config), family, "{config}");
        }
        let both = config()
            .with_bias(ProjectionBias::QKV)
            .with_qk_norm(QkNorm::PerHead);
        let problem = Family::for_config(&both).problem(&both).unwrap();
        assert_eq!(problem, "LlamaForCausalLM has not the biases of this model");
    }
}
