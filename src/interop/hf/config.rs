//! `config.json` of a model.

mod attention_window;
mod fields;
mod keys;
mod quantization;
mod rope;

use std::path::Path;

use self::fields::Fields;
use super::{
    Family, HfError, error::read_json, quantization::QuantizationConfig,
    special_tokens::SpecialTokens,
};
use crate::{
    base::key_table::{KeyTable, UnknownKey},
    nn::{BitNetLmConfig, GatedActivation, ProjectionBias},
};

/// What `config.json` says of a model.
///
/// Each key is read, known to leave what the model computes as it is, or refused where it is not off: those
/// of other attentions, of factors and caps of logits, of experts. Keys that this crate does not know are
/// in [`unknown_keys`](Self::unknown_keys). Missing fields have the values that transformers 5 gives them.
#[derive(Debug, Clone)]
pub struct HfConfig {
    /// The architecture.
    pub family: Family,
    /// Sizes and choices.
    pub lm: BitNetLmConfig,
    /// How weights are quantized, where the file says so.
    pub quantization: Option<QuantizationConfig>,
    /// Positions that a query looks back on, itself among them; `None` for all. Layers here look back on
    /// all: it must not be below the positions of the model.
    pub sliding_window: Option<usize>,
    /// Token before the first.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// Token that fills up shorter sequences of a batch.
    pub pad_token_id: Option<u32>,
    /// Keys that this crate does not know.
    pub unknown_keys: Vec<UnknownKey>,
}

impl HfConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or describes a model that this crate has no layers for.
    pub fn read(path: &Path) -> Result<Self, HfError> {
        let fields = Fields {
            path,
            prefix: "",
            json: &read_json(path)?,
        };
        let family = family(&fields)?;
        let mut unknown_keys = checked(&keys::CONFIG, &fields)?;
        check_bits(&fields)?;
        let quantization = quantization::read(&fields, &mut unknown_keys)?;
        let mut lm = sizes(&fields, family)?;
        let rope = rope::read(&fields, family)?;
        (lm.rope_theta, lm.rope_scaling) = (rope.theta, rope.scaling);
        unknown_keys.extend(rope.unknown);
        let tokens = SpecialTokens::of(fields.json);
        Ok(Self {
            family,
            lm,
            quantization,
            sliding_window: attention_window::read(&fields, family)?,
            bos_token_id: tokens.bos,
            eos_token_ids: tokens.eos,
            pad_token_id: tokens.pad,
            unknown_keys,
        })
    }
}

/// Checks the keys of an object.
fn checked(table: &KeyTable, fields: &Fields<'_>) -> Result<Vec<UnknownKey>, HfError> {
    let file = fields.path.file_name().unwrap_or_default();
    let keys = fields.json.iter();
    let keys = keys.map(|(key, value)| (key.as_str(), value));
    let unknown = table
        .check(&file.to_string_lossy(), keys)
        .map_err(|refused| fields.unsupported(&refused.key, refused.found, &refused.supported))?;
    let prefixed = unknown.into_iter().map(|mut unknown| {
        unknown.key.insert_str(0, fields.prefix);
        unknown
    });
    Ok(prefixed.collect())
}

/// The architecture, and the type of the model where the file names none.
fn family(fields: &Fields<'_>) -> Result<Family, HfError> {
    let names: Option<Vec<String>> = fields.optional("architectures")?;
    if let Some(name) = names.iter().flatten().next() {
        let unsupported = || fields.unsupported("architectures", name, &Family::names());
        return Family::of(name).ok_or_else(unsupported);
    }
    let model_type: Option<String> = fields.optional("model_type")?;
    match &model_type {
        Some(name) => Family::of_model_type(name).ok_or_else(|| {
            fields.unsupported("model_type", name, "bitnet, llama, mistral, qwen2 or qwen3")
        }),
        None => Err(fields.unsupported("architectures", "missing", &Family::names())),
    }
}

fn check_bits(fields: &Fields<'_>) -> Result<(), HfError> {
    for (key, supported) in [("weight_bits", 1), ("input_bits", 8)] {
        if let Some(found) = fields
            .optional::<usize>(key)?
            .filter(|bits| *bits != supported)
        {
            return Err(fields.unsupported(key, found, &supported.to_string()));
        }
    }
    Ok(())
}

/// Everything but the positions.
fn sizes(fields: &Fields<'_>, family: Family) -> Result<BitNetLmConfig, HfError> {
    let defaults = family.defaults();
    let n_heads = fields.required("num_attention_heads")?;
    let n_kv_heads = fields.or(
        "num_key_value_heads",
        defaults.n_kv_heads.unwrap_or(n_heads),
        n_heads,
    )?;
    let d_model: usize = fields.required("hidden_size")?;
    let d_head: Option<usize> = fields.optional("head_dim")?;
    let d_head = d_head.or(defaults.d_head.filter(|_| !fields.has("head_dim")));
    let config = BitNetLmConfig::new(
        fields.required("vocab_size")?,
        d_model,
        fields.required("num_hidden_layers")?,
        n_heads,
        fields.required("intermediate_size")?,
    )
    .with_n_kv_heads(Some(n_kv_heads))
    .with_d_head(d_head.filter(|d_head| d_head.checked_mul(n_heads) != Some(d_model)))
    .with_max_positions(
        fields
            .optional("max_position_embeddings")?
            .unwrap_or(defaults.max_positions),
    )
    .with_rms_norm_epsilon(
        fields
            .positive("rms_norm_eps")?
            .unwrap_or(defaults.rms_norm_epsilon),
    )
    .with_activation(activation(fields, defaults.activation)?)
    .with_sub_norm(family.has_sub_norm())
    .with_qk_norm(family.qk_norm())
    .with_bias(bias(fields, family)?)
    .with_tied_embeddings(fields.optional("tie_word_embeddings")?.unwrap_or(false));
    check_sizes(fields, &config, family)?;
    Ok(config)
}

fn check_sizes(
    fields: &Fields<'_>,
    config: &BitNetLmConfig,
    family: Family,
) -> Result<(), HfError> {
    let (d_model, n_heads, n_kv_heads) = (config.d_model, config.n_heads, config.key_value_heads());
    for (field, size) in [
        ("vocab_size", config.vocab_size),
        ("hidden_size", d_model),
        ("intermediate_size", config.d_ff),
        ("num_attention_heads", n_heads),
        ("num_key_value_heads", n_kv_heads),
        ("head_dim", config.d_head.unwrap_or(1)),
        ("max_position_embeddings", config.max_positions),
    ] {
        if size == 0 {
            return Err(fields.wrong(format!("{field} is 0")));
        }
    }
    match config.d_head {
        None if !n_heads
            .checked_mul(2)
            .is_some_and(|pairs| d_model.is_multiple_of(pairs)) =>
        {
            Err(fields.wrong(format!(
                "hidden_size {d_model} is not an even number for each of {n_heads} heads"
            )))
        }
        Some(d_head) if !d_head.is_multiple_of(2) => {
            Err(fields.wrong(format!("head_dim {d_head} is not even")))
        }
        Some(d_head) if family.has_sub_norm() => {
            // The norm before the output projection has the size of the model.
            let supported = format!("hidden_size / num_attention_heads, {}", d_model / n_heads);
            Err(fields.unsupported("head_dim", d_head, &supported))
        }
        Some(d_head) if d_head.checked_mul(n_heads).is_none() => {
            Err(fields.wrong(format!("head_dim is {d_head}")))
        }
        _ if !n_heads.is_multiple_of(n_kv_heads) => Err(fields.wrong(format!(
            "num_attention_heads {n_heads} is no multiple of num_key_value_heads {n_kv_heads}"
        ))),
        _ => Ok(()),
    }
}

/// The biases that a family has, or may have.
fn bias(fields: &Fields<'_>, family: Family) -> Result<ProjectionBias, HfError> {
    let [attention, mlp] = ["attention_bias", "mlp_bias"].map(|key| {
        let given = fields.optional::<bool>(key);
        given.map(|bias| bias.unwrap_or(false))
    });
    let (attention, mlp) = (attention?, mlp?);
    let of_attention = match attention {
        true => ProjectionBias::ATTENTION,
        false => ProjectionBias::NONE,
    };
    let refused = |key| Err(fields.unsupported(key, "true", "false"));
    match family {
        Family::Llama => Ok(ProjectionBias {
            feed_forward: mlp,
            ..of_attention
        }),
        _ if mlp => refused("mlp_bias"),
        Family::BitNet | Family::OneBitLlm | Family::Qwen3 => Ok(of_attention),
        // It has them whatever the key says.
        Family::Qwen2 => Ok(ProjectionBias::QKV),
        Family::Mistral if attention => refused("attention_bias"),
        Family::Mistral => Ok(ProjectionBias::NONE),
    }
}

fn activation(fields: &Fields<'_>, default: GatedActivation) -> Result<GatedActivation, HfError> {
    match fields.optional::<String>("hidden_act")?.as_deref() {
        None => Ok(default),
        Some("silu" | "swish") => Ok(GatedActivation::Silu),
        Some("relu2") => Ok(GatedActivation::SquaredRelu),
        Some(found) => Err(fields.unsupported("hidden_act", found, "silu or relu2")),
    }
}
