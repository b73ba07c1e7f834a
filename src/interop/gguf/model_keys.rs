//! The keys of an architecture in the metadata of a file: which are honored, harmless or refused.

use serde_json::Value;

use super::{FromGgufValue, GgufError, GgufMetadata, GgufValue, json_value, scalar::shortest};
use crate::base::key_table::{
    KeyRule::{self, Harmless, Honored, OffAt},
    KeyTable, Off, UnknownKey,
};

/// A number that multiplies nothing: llama.cpp takes 0 for a key that is not there.
const NO_SCALE: KeyRule = OffAt(&[Off::Number(0.0), Off::Number(1.0)]);
const ZERO: KeyRule = OffAt(&[Off::Number(0.0)]);
const FALSE: KeyRule = OffAt(&[Off::False]);

/// Keys behind the name of the architecture.
const TABLE: KeyTable = KeyTable(&[
    ("vocab_size", Honored),
    ("context_length", Honored),
    ("embedding_length", Honored),
    ("embedding_length_out", Honored),
    ("block_count", Honored),
    ("feed_forward_length", Honored),
    ("hidden_activation", Honored),
    ("hidden_act", Honored),
    ("attention.head_count", Honored),
    ("attention.head_count_kv", Honored),
    ("attention.key_length", Honored),
    ("attention.value_length", Honored),
    ("attention.layer_norm_rms_epsilon", Honored),
    ("attention.causal", Honored),
    ("attention.scale", Honored),
    ("attention.sliding_window", Honored),
    ("rope.dimension_count", Honored),
    ("rope.freq_base", Honored),
    ("rope.scale_linear", Honored),
    ("rope.scaling.type", Honored),
    ("rope.scaling.factor", Honored),
    ("rope.scaling.attn_factor", Honored),
    ("rope.scaling.original_context_length", Honored),
    ("rope.scaling.yarn_log_multiplier", Honored),
    ("rope.scaling.yarn_ext_factor", Honored),
    ("rope.scaling.yarn_attn_factor", Honored),
    ("rope.scaling.yarn_beta_fast", Honored),
    ("rope.scaling.yarn_beta_slow", Honored),
    // Of the training, not of the model.
    ("rope.scaling.finetuned", Harmless),
    // Of norms that these architectures do not have.
    ("attention.layer_norm_epsilon", Harmless),
    // Of sliding windows, which are refused.
    ("attention.sliding_window_pattern", Harmless),
    ("attention.key_length_swa", Harmless),
    ("attention.value_length_swa", Harmless),
    ("rope.dimension_count_swa", Harmless),
    ("rope.freq_base_swa", Harmless),
    // llama.cpp reads the rows of an architecture in one order, whatever this says.
    (
        "tensor_data_layout",
        OffAt(&[Off::Text("Meta AI original pth"), Off::Text("reference")]),
    ),
    ("use_parallel_residual", FALSE),
    ("swin_norm", FALSE),
    ("attention.clamp_kqv", ZERO),
    ("attention.max_alibi_bias", ZERO),
    ("attention.shared_kv_layers", ZERO),
    ("attention.temperature_length", ZERO),
    ("attention.temperature_scale", ZERO),
    ("attention.output_scale", NO_SCALE),
    ("attention.value_scale", NO_SCALE),
    ("attention.q_lora_rank", ZERO),
    ("attention.kv_lora_rank", ZERO),
    ("attention.key_length_mla", ZERO),
    ("attention.value_length_mla", ZERO),
    ("attn_logit_softcapping", ZERO),
    ("final_logit_softcapping", ZERO),
    ("router_logit_softcapping", ZERO),
    ("logit_scale", NO_SCALE),
    ("embedding_scale", NO_SCALE),
    ("residual_scale", NO_SCALE),
    ("rope.scaling.alpha", NO_SCALE),
    (
        "rope.dimension_sections",
        OffAt(&[Off::Empty, Off::Number(0.0)]),
    ),
    ("expert_count", ZERO),
    ("expert_used_count", ZERO),
    ("expert_shared_count", ZERO),
    ("expert_feed_forward_length", ZERO),
    ("expert_shared_feed_forward_length", ZERO),
    ("expert_group_count", ZERO),
    ("expert_group_used_count", ZERO),
    ("expert_gating_func", ZERO),
    ("expert_weights_scale", NO_SCALE),
    ("expert_weights_norm", FALSE),
    ("leading_dense_block_count", ZERO),
    ("interleave_moe_layer_step", NO_SCALE),
    ("moe_every_n_layers", NO_SCALE),
    ("nextn_predict_layers", ZERO),
    ("n_deepstack_layers", ZERO),
    ("embedding_length_per_layer_input", ZERO),
    ("decoder_block_count", ZERO),
    ("rescale_every_n_layers", ZERO),
    ("num_loops", NO_SCALE),
    ("swiglu_clamp_exp", ZERO),
    ("swiglu_clamp_shexp", ZERO),
    ("activation_sparsity_scale", ZERO),
    ("pooling_type", ZERO),
    ("classifier.output_labels", OffAt(&[Off::Empty])),
]);

/// Keys of tokenizers that are read, or that make no difference to the tokenizers which are.
const TOKENIZER: KeyTable = KeyTable(&[
    ("ggml.model", Honored),
    ("ggml.pre", Honored),
    ("ggml.tokens", Honored),
    ("ggml.token_type", Honored),
    ("ggml.scores", Honored),
    ("ggml.merges", Honored),
    ("ggml.bos_token_id", Honored),
    ("ggml.eos_token_id", Honored),
    ("ggml.eot_token_id", Honored),
    ("ggml.eom_token_id", Honored),
    ("ggml.unknown_token_id", Honored),
    ("ggml.padding_token_id", Honored),
    ("ggml.fim_pad_token_id", Honored),
    ("ggml.fim_rep_token_id", Honored),
    ("ggml.fim_sep_token_id", Honored),
    ("ggml.add_bos_token", Honored),
    ("ggml.add_eos_token", Honored),
    ("ggml.add_space_prefix", Honored),
    ("chat_template", Honored),
    ("chat_templates", Honored),
    ("huggingface.json", Honored),
    // Of tasks that nothing here does: to fill a text in, to classify, to mask.
    ("ggml.fim_pre_token_id", Harmless),
    ("ggml.fim_suf_token_id", Harmless),
    ("ggml.fim_mid_token_id", Harmless),
    ("ggml.prefix_token_id", Harmless),
    ("ggml.suffix_token_id", Harmless),
    ("ggml.middle_token_id", Harmless),
    ("ggml.seperator_token_id", Harmless),
    ("ggml.separator_token_id", Harmless),
    ("ggml.cls_token_id", Harmless),
    ("ggml.mask_token_id", Harmless),
    ("ggml.add_sep_token", Harmless),
    ("ggml.token_type_count", Harmless),
    // Of unigram tokenizers, which are refused.
    ("ggml.remove_extra_whitespaces", Harmless),
    ("ggml.precompiled_charsmap", Harmless),
]);

/// The keys of a model's architecture.
pub(super) struct ModelKeys<'a> {
    pub metadata: &'a GgufMetadata,
    /// `general.architecture`, which the keys begin with.
    pub name: &'a str,
}

impl<'a> ModelKeys<'a> {
    pub fn new(metadata: &'a GgufMetadata) -> Result<Self, GgufError> {
        let name = metadata.required("general.architecture")?;
        Ok(Self { metadata, name })
    }

    /// The key as it is in the file.
    pub fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    pub fn required<T: FromGgufValue<'a>>(&self, key: &str) -> Result<T, GgufError> {
        self.metadata.required(&self.key(key))
    }

    pub fn optional<T: FromGgufValue<'a>>(&self, key: &str) -> Result<Option<T>, GgufError> {
        self.metadata.optional(&self.key(key))
    }

    /// A number of single precision as the shortest one of double precision that it stands for, so
    /// that 1e-5 does not become 9.99999974e-6.
    pub fn float(&self, key: &str) -> Result<Option<f64>, GgufError> {
        let key = self.key(key);
        match self.metadata.get(&key) {
            Some(GgufValue::F32(value)) => Ok(Some(shortest(*value))),
            _ => self.metadata.optional(&key),
        }
    }

    /// A size that is a number, or one for each layer, all of which have to be equal.
    pub fn size(&self, key: &str, layers: usize) -> Result<Option<usize>, GgufError> {
        let name = self.key(key);
        let Some(GgufValue::Array(array)) = self.metadata.get(&name) else {
            return self.metadata.optional(&name);
        };
        let refused = |supported: String| GgufError::Unsupported {
            key: name.clone(),
            found: json_value::shown(&GgufValue::Array(array.clone())),
            supported,
        };
        let sizes = array.sizes();
        match sizes.as_deref() {
            Some([first, rest @ ..]) if rest.len() + 1 == layers => {
                match rest.iter().all(|size| size == first) {
                    true => Ok(Some(*first)),
                    false => Err(refused("the same size for every layer".to_string())),
                }
            }
            _ => Err(refused(format!(
                "a size, or one for each of {layers} layers"
            ))),
        }
    }

    pub fn unsupported(
        &self,
        key: &str,
        found: impl ToString,
        supported: impl ToString,
    ) -> GgufError {
        GgufError::Unsupported {
            key: self.key(key),
            found: found.to_string(),
            supported: supported.to_string(),
        }
    }

    /// Refuses keys that change what a model computes and are not built, and returns those that
    /// nobody knows.
    pub fn check(&self) -> Result<Vec<UnknownKey>, GgufError> {
        check_general(self.metadata)?;
        let mut unknown = self.checked(&TABLE, &format!("{}.", self.name))?;
        unknown.extend(self.checked(&TOKENIZER, "tokenizer.")?);
        Ok(unknown)
    }

    fn checked(&self, table: &KeyTable, prefix: &str) -> Result<Vec<UnknownKey>, GgufError> {
        let values: Vec<(&str, Value)> = (self.metadata.iter())
            .filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value)))
            .filter(|(key, _)| !key.starts_with("chat_template."))
            .map(|(key, value)| (key, json_value::one(value)))
            .collect();
        let keys = values.iter().map(|(key, value)| (*key, value));
        let mut unknown = table.check("GGUF", keys).map_err(|refused| {
            let key = format!("{prefix}{}", refused.key);
            GgufError::Unsupported {
                key,
                found: refused.found,
                supported: refused.supported,
            }
        })?;
        for unknown in &mut unknown {
            unknown.key = format!("{prefix}{}", unknown.key);
        }
        Ok(unknown)
    }
}

/// Refuses files of another kind, and one part of a model in several. The other keys of `general` say
/// where a model comes from.
fn check_general(metadata: &GgufMetadata) -> Result<(), GgufError> {
    let kind: Option<&str> = metadata.optional("general.type")?;
    if let Some(found) = kind.filter(|kind| *kind != "model") {
        return Err(GgufError::Unsupported {
            key: "general.type".to_string(),
            found: found.to_string(),
            supported: "model".to_string(),
        });
    }
    let count: Option<u64> = metadata.optional("split.count")?;
    match count.filter(|count| *count > 1) {
        Some(count) => Err(GgufError::Split {
            part: metadata
                .optional::<u64>("split.no")?
                .unwrap_or(0)
                .saturating_add(1),
            count,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(entries: &[(&str, GgufValue)]) -> GgufMetadata {
        let mut metadata = GgufMetadata::new();
        metadata.insert("general.architecture", "llama").unwrap();
        for (key, value) in entries {
            metadata.insert(*key, value.clone()).unwrap();
        }
        metadata
    }

    fn error(key: &str, value: impl Into<GgufValue>) -> String {
        let metadata = metadata(&[(key, value.into())]);
        let keys = ModelKeys::new(&metadata).unwrap();
        keys.check().unwrap_err().to_string()
    }

    #[test]
    fn what_changes_the_computation_is_refused_by_name() {
        let text = error("llama.attention.clamp_kqv", 8.0f32);
        let expected = "llama.attention.clamp_kqv is 8.0, supported is 0";
        assert_eq!(text, expected);
        assert!(error("llama.logit_scale", f32::NAN).contains("llama.logit_scale is NaN"));
        assert!(error("llama.expert_count", 8u32).contains("expert_count is 8"));
        assert!(error("llama.swiglu_clamp_exp", vec![0.0f32, 1.0]).contains("swiglu_clamp_exp"));
        assert!(error("general.type", "adapter").contains("general.type is adapter"));
        let text = error("split.count", 3u16);
        assert!(text.contains("part 1 of 3 of a split GGUF"), "{text}");
    }

    #[test]
    fn keys_that_are_off_pass_and_unknown_ones_are_listed() {
        let metadata = metadata(&[
            ("llama.expert_count", 0u32.into()),
            ("llama.swiglu_clamp_exp", vec![0.0f32; 4].into()),
            ("llama.logit_scale", 1.0f32.into()),
            ("llama.new_idea", 3u32.into()),
            ("tokenizer.chat_template.tool_use", "x".into()),
            ("tokenizer.ggml.new", vec![1u32, 2].into()),
            ("general.anything", true.into()),
            ("split.count", 1u16.into()),
            ("quantize.imatrix.file", "i.dat".into()),
        ]);
        let unknown = ModelKeys::new(&metadata).unwrap().check().unwrap();
        let text: Vec<String> = unknown.iter().map(ToString::to_string).collect();
        let expected = [
            "GGUF: llama.new_idea = 3",
            "GGUF: tokenizer.ggml.new = [1,2]",
        ];
        assert_eq!(text, expected);
    }

    #[test]
    fn sizes_of_layers_have_to_be_equal() {
        let metadata = metadata(&[
            ("llama.a", vec![48i32, 48].into()),
            ("llama.b", vec![48u64, 64].into()),
            ("llama.c", 7u8.into()),
        ]);
        let keys = ModelKeys::new(&metadata).unwrap();
        assert_eq!(keys.size("a", 2).unwrap(), Some(48));
        assert_eq!(keys.size("c", 2).unwrap(), Some(7));
        let text = keys.size("b", 2).unwrap_err().to_string();
        assert_eq!(
            text,
            "llama.b is [48,64], supported is the same size for every layer"
        );
        let text = keys.size("a", 3).unwrap_err().to_string();
        assert!(text.contains("one for each of 3 layers"), "{text}");
    }
}
