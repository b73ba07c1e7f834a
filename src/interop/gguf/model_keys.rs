//! The keys of an architecture in the metadata of a file: which are honored, harmless or refused.

use serde_json::Value;

use super::{
    FromGgufValue, GgufError, GgufMetadata, GgufValue, json_value,
    scalar::{Scalar, shortest},
};
use crate::base::key_table::{
    KeyRule::{self, Harmless, Honored, OffAt},
    KeyTable, Off, UnknownKey,
};

/// A number that multiplies nothing: llama.cpp takes 0 for a key that is not there.
const NO_SCALE: KeyRule = OffAt(&[Off::Number(0.0), Off::Number(1.0)]);
const ZERO: KeyRule = OffAt(&[Off::Number(0.0)]);
const FALSE: KeyRule = OffAt(&[Off::False]);

/// Keys behind the name of the architecture.
#[rustfmt::skip]
const TABLE: KeyTable = KeyTable(&[
    (Honored, &[
        "vocab_size", "context_length", "embedding_length", "embedding_length_out", "block_count",
        "feed_forward_length", "hidden_activation", "hidden_act", "attention.head_count",
        "attention.head_count_kv", "attention.key_length", "attention.value_length",
        "attention.layer_norm_rms_epsilon", "attention.causal", "attention.scale",
        "attention.sliding_window", "rope.dimension_count", "rope.freq_base", "rope.scale_linear",
        "rope.scaling.type", "rope.scaling.factor", "rope.scaling.attn_factor",
        "rope.scaling.original_context_length", "rope.scaling.yarn_log_multiplier",
        "rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor",
        "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow",
    ]),
    // Of the training, not of the model.
    (Harmless, &["rope.scaling.finetuned"]),
    // Of norms that these architectures do not have.
    (Harmless, &["attention.layer_norm_epsilon"]),
    // Of sliding windows, which are refused.
    (Harmless, &[
        "attention.sliding_window_pattern", "attention.key_length_swa",
        "attention.value_length_swa", "rope.dimension_count_swa", "rope.freq_base_swa",
    ]),
    // llama.cpp reads the rows of an architecture in one order, whatever this says.
    (OffAt(&[Off::Text("Meta AI original pth"), Off::Text("reference")]), &["tensor_data_layout"]),
    // Of what these architectures do not compute.
    (FALSE, &["use_parallel_residual", "swin_norm", "expert_weights_norm"]),
    (ZERO, &[
        "attention.clamp_kqv", "attention.max_alibi_bias", "attention.shared_kv_layers",
        "attention.temperature_length", "attention.temperature_scale", "attention.q_lora_rank",
        "attention.kv_lora_rank", "attention.key_length_mla", "attention.value_length_mla",
        "attn_logit_softcapping", "final_logit_softcapping", "router_logit_softcapping",
        "expert_count", "expert_used_count", "expert_shared_count", "expert_feed_forward_length",
        "expert_shared_feed_forward_length", "expert_group_count", "expert_group_used_count",
        "expert_gating_func", "leading_dense_block_count", "nextn_predict_layers",
        "n_deepstack_layers", "embedding_length_per_layer_input", "decoder_block_count",
        "rescale_every_n_layers", "swiglu_clamp_exp", "swiglu_clamp_shexp",
        "activation_sparsity_scale", "pooling_type",
    ]),
    (NO_SCALE, &[
        "attention.output_scale", "attention.value_scale", "logit_scale", "embedding_scale",
        "residual_scale", "rope.scaling.alpha", "expert_weights_scale", "interleave_moe_layer_step",
        "moe_every_n_layers", "num_loops",
    ]),
    (OffAt(&[Off::Empty, Off::Number(0.0)]), &["rope.dimension_sections"]),
    (OffAt(&[Off::Empty]), &["classifier.output_labels"]),
]);

/// Keys of tokenizers that are read, or that make no difference to the tokenizers which are.
#[rustfmt::skip]
const TOKENIZER: KeyTable = KeyTable(&[
    (Honored, &[
        "ggml.model", "ggml.pre", "ggml.tokens", "ggml.token_type", "ggml.scores", "ggml.merges",
        "ggml.bos_token_id", "ggml.eos_token_id", "ggml.eot_token_id", "ggml.eom_token_id",
        "ggml.unknown_token_id", "ggml.padding_token_id", "ggml.fim_pad_token_id",
        "ggml.fim_rep_token_id", "ggml.fim_sep_token_id", "ggml.add_bos_token",
        "ggml.add_eos_token", "ggml.add_space_prefix", "chat_template", "chat_templates",
        "huggingface.json",
    ]),
    // Of tasks that nothing here does: to fill a text in, to classify, to mask.
    (Harmless, &[
        "ggml.fim_pre_token_id", "ggml.fim_suf_token_id", "ggml.fim_mid_token_id",
        "ggml.prefix_token_id", "ggml.suffix_token_id", "ggml.middle_token_id",
        "ggml.seperator_token_id", "ggml.separator_token_id", "ggml.cls_token_id",
        "ggml.mask_token_id", "ggml.add_sep_token", "ggml.token_type_count",
    ]),
    // Of unigram tokenizers, which are refused.
    (Harmless, &["ggml.remove_extra_whitespaces", "ggml.precompiled_charsmap"]),
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
        let refused = |supported: String| {
            let found = json_value::shown(&GgufValue::Array(array.clone()));
            GgufError::unsupported(&name, found, supported)
        };
        let size = |element: &dyn Scalar| element.integer()?.try_into().ok();
        let sizes: Option<Vec<usize>> = array.elements().map(size).collect();
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
        GgufError::unsupported(self.key(key), found, supported)
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
            GgufError::unsupported(key, refused.found, refused.supported)
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
        return Err(GgufError::unsupported("general.type", found, "model"));
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
