//! Models of every family, type and option, written to GGUF and read back.

use std::path::Path;

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        gguf::{GgmlType, GgufError, LoadOptions, SaveOptions, load, save},
    },
    nn::{BitNetLm, BitNetLmConfig, GatedActivation, ProjectionBias, QkNorm, RopeScaling},
};
use burn::{
    module::{Module, ModuleMapper, Param},
    nn::Linear,
    tensor::{Device, Int, Tensor},
};

use crate::support::values::*;

/// Models with different architectures.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Family {
    BitNet,
    BitNetSquaredRelu,
    Llama,
    LlamaUntied,
    LlamaSquaredRelu,
    LlamaBiases,
    LlamaWideHeads,
    BitNetPartRotary,
    Qwen2,
    Qwen3,
}

impl Family {
    const ALL: [Self; 10] = [
        Self::BitNet,
        Self::BitNetSquaredRelu,
        Self::Llama,
        Self::LlamaUntied,
        Self::LlamaSquaredRelu,
        Self::LlamaBiases,
        Self::LlamaWideHeads,
        Self::BitNetPartRotary,
        Self::Qwen2,
        Self::Qwen3,
    ];

    fn is_squared_relu(self) -> bool {
        matches!(self, Self::BitNetSquaredRelu | Self::LlamaSquaredRelu)
    }

    fn has_sub_norm(self) -> bool {
        matches!(
            self,
            Self::BitNet | Self::BitNetSquaredRelu | Self::BitNetPartRotary
        )
    }

    fn config(self) -> BitNetLmConfig {
        BitNetLmConfig::new(32, 256, 1, 4, 256)
            .with_n_kv_heads(Some(2))
            .with_max_positions(16)
            .with_rope_theta(1234.5)
            .with_rms_norm_epsilon(3e-6)
            .with_sub_norm(self.has_sub_norm())
            .with_tied_embeddings(self != Self::LlamaUntied)
            .with_activation(match self.is_squared_relu() {
                true => GatedActivation::SquaredRelu,
                false => GatedActivation::Silu,
            })
            .with_bias(match self {
                Self::LlamaBiases => ProjectionBias::new(true, true, true),
                Self::Qwen2 => ProjectionBias::QKV,
                _ => ProjectionBias::NONE,
            })
            .with_qk_norm(match self {
                Self::Qwen3 => QkNorm::PerHead,
                _ => QkNorm::None,
            })
            .with_d_head(match self {
                // A row of the output projection is then a block of 256, too.
                Self::LlamaWideHeads | Self::Qwen3 => Some(128),
                _ => None,
            })
            .with_d_rotary((self == Self::BitNetPartRotary).then_some(32))
    }

    /// Returns whether llama.cpp divides the frequencies of the architecture by factors.
    fn has_rope_factors(self) -> bool {
        !self.has_sub_norm() && !matches!(self, Self::Qwen2 | Self::Qwen3)
    }
}

fn scalings() -> [Option<RopeScaling>; 6] {
    [
        None,
        // Not representable in single precision.
        Some(RopeScaling::Linear { factor: 1.7 }),
        Some(RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_positions: 8192,
        }),
        // Different from Llama 3's.
        Some(RopeScaling::Llama3 {
            factor: 2.5,
            low_freq_factor: 1.5,
            high_freq_factor: 3.0,
            original_max_positions: 6,
        }),
        Some(RopeScaling::Yarn {
            factor: 3.3,
            original_max_positions: 8,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
            attention_factor: None,
            mscale: Some(1.2),
            mscale_all_dim: Some(0.7),
        }),
        Some(RopeScaling::Linear { factor: 1.0 }),
    ]
}

fn model(config: BitNetLmConfig, quantized: bool) -> PretrainedLm {
    let device = Device::default();
    let lm = match quantized {
        true => {
            let lm: BitNetLm = config.init(&device);
            CausalLm::Packed(lm.pack())
        }
        false => {
            let lm: BitNetLm<Linear> = config.init(&device);
            CausalLm::Full(lm)
        }
    };
    let lm = with_biases(lm);
    let mut model = PretrainedLm::new(config, lm);
    model.bos_token_id = Some(1);
    model.eos_token_ids = vec![7, 2, 9, 30];
    model.pad_token_id = Some(3);
    model
}

/// Returns the model with biases other than zeros and norms other than ones.
fn with_biases(lm: CausalLm) -> CausalLm {
    struct Shift(f32);
    impl ModuleMapper for Shift {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if D > 1 {
                return param;
            }
            self.0 += 0.01;
            let start = self.0;
            param.map(|tensor| {
                let steps = Tensor::<1, Int>::arange(0..tensor.dims()[0] as i64, &tensor.device());
                let steps = (steps.float() * 1e-3 + start).reshape(tensor.dims());
                tensor + steps
            })
        }
    }
    match lm {
        CausalLm::Full(lm) => CausalLm::Full(lm.map(&mut Shift(0.0))),
        CausalLm::Packed(lm) => {
            // The scales of packed weights are parameters of rank 2.
            CausalLm::Packed(lm.map(&mut Shift(0.0)))
        }
        other => other,
    }
}

fn logits(model: &PretrainedLm) -> Vec<f32> {
    let tokens = Tensor::<2, Int>::from_ints([[5, 3, 17, 9, 0, 31, 2, 8]], &Device::default());
    floats(model.lm.forward(tokens))
}

fn again(
    path: &Path,
    model: &PretrainedLm,
    ggml_type: GgmlType,
) -> Result<PretrainedLm, GgufError> {
    let options = SaveOptions::new(ggml_type)
        .with_embeddings(Some(GgmlType::F32))
        .with_squared_relu(true);
    save(path, model, &options)?;
    let options = LoadOptions::new().with_i2_s(true);
    load(path, &options, &Device::default())
}

/// Returns whether [`save`] must reject a model.
fn is_refused(family: Family, ggml_type: GgmlType, scaling: &Option<RopeScaling>) -> bool {
    let llama3 = matches!(scaling, Some(RopeScaling::Llama3 { .. }));
    (llama3 && !family.has_rope_factors())
        || (family == Family::LlamaSquaredRelu && ggml_type == GgmlType::I2_S)
}

/// Returns whether weights are read back bit for bit.
fn is_exact(family: Family, ggml_type: GgmlType, quantized: bool) -> bool {
    match (quantized, ggml_type) {
        (_, GgmlType::F32) | (true, GgmlType::I2_S) => true,
        // Codes have separate scales.
        (true, GgmlType::F16 | GgmlType::BF16 | GgmlType::TQ1_0 | GgmlType::TQ2_0) => {
            family.has_sub_norm()
        }
        _ => false,
    }
}

fn check(path: &Path, family: Family, ggml_type: GgmlType, quantized: bool) {
    // The type of the weights and the scaling of positions are independent.
    let count = if ggml_type == GgmlType::F32 { 6 } else { 1 };
    for scaling in scalings().into_iter().take(count) {
        let name = format!("{family:?}, {ggml_type}, quantized {quantized}, {scaling:?}");
        let config = family.config().with_rope_scaling(scaling.clone());
        let model = model(config, quantized);
        let loaded = again(path, &model, ggml_type);
        if is_refused(family, ggml_type, &scaling) {
            assert!(loaded.is_err(), "{name}");
            continue;
        }
        let loaded = loaded.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            loaded.config.to_string(),
            model.config.to_string(),
            "{name}"
        );
        assert_eq!(loaded.bos_token_id, model.bos_token_id, "{name}");
        assert_eq!(loaded.eos_token_ids, model.eos_token_ids, "{name}");
        assert_eq!(loaded.pad_token_id, model.pad_token_id, "{name}");
        assert!(
            loaded.unknown_keys.is_empty(),
            "{name}: {:?}",
            loaded.unknown_keys
        );
        if is_exact(family, ggml_type, quantized) {
            assert_equal(&logits(&loaded), &logits(&model), &name);
        }
        // Values rounded once are not rounded again; block scales are computed anew.
        if ggml_type != GgmlType::Q8_0 {
            let twice = again(path, &loaded, ggml_type).unwrap();
            assert_equal(&logits(&twice), &logits(&loaded), &name);
        }
    }
}

#[test]
fn models_in_full_precision_come_back_with_all_that_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for family in Family::ALL {
        for ggml_type in [GgmlType::F32, GgmlType::F16, GgmlType::BF16, GgmlType::Q8_0] {
            check(&path, family, ggml_type, false);
        }
    }
}

#[test]
fn quantized_models_come_back_with_all_that_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for family in Family::ALL {
        for ggml_type in [
            GgmlType::F32,
            GgmlType::F16,
            GgmlType::BF16,
            GgmlType::Q8_0,
            GgmlType::TQ1_0,
            GgmlType::TQ2_0,
            GgmlType::I2_S,
        ] {
            check(&path, family, ggml_type, true);
        }
    }
}
