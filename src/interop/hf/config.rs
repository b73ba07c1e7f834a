//! `config.json` of a model.

use std::{fs, path::Path};

use serde::Deserialize;
use serde_json::Value;

use super::{Family, HfError, QuantizationConfig};
use crate::nn::{BitNetLmConfig, GatedActivation, RopeScaling};

/// What `config.json` says of a model.
#[derive(Debug, Clone)]
pub struct HfConfig {
    /// The architecture.
    pub family: Family,
    /// Sizes and choices.
    pub lm: BitNetLmConfig,
    /// How weights are quantised, where the file says so.
    pub quantization: Option<QuantizationConfig>,
    /// Token before the first.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
}

/// The fields that are read. What is missing has the value that transformers gives it.
#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    architectures: Option<Vec<String>>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    #[serde(default)]
    num_key_value_heads: Option<usize>,
    #[serde(default)]
    head_dim: Option<usize>,
    #[serde(default)]
    max_position_embeddings: Option<usize>,
    #[serde(default)]
    rms_norm_eps: Option<f64>,
    #[serde(default)]
    hidden_act: Option<String>,
    #[serde(default)]
    tie_word_embeddings: Option<bool>,
    #[serde(default)]
    attention_bias: Option<bool>,
    #[serde(default)]
    mlp_bias: Option<bool>,
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    rope_scaling: Option<Value>,
    #[serde(default)]
    rope_parameters: Option<Value>,
    #[serde(default)]
    weight_bits: Option<usize>,
    #[serde(default)]
    input_bits: Option<usize>,
    #[serde(default)]
    quantization_config: Option<QuantizationConfig>,
    #[serde(default)]
    bos_token_id: Option<Value>,
    #[serde(default)]
    eos_token_id: Option<Value>,
}

/// The scaling of rotary positions, in either of the places where it is written.
#[derive(Deserialize, Default)]
struct Rope {
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default, alias = "type")]
    rope_type: Option<String>,
    #[serde(default)]
    factor: Option<f64>,
    #[serde(default)]
    low_freq_factor: Option<f64>,
    #[serde(default)]
    high_freq_factor: Option<f64>,
    #[serde(default)]
    original_max_position_embeddings: Option<usize>,
}

impl HfConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or describes a model that this crate has no layers for.
    pub fn read(path: &Path) -> Result<Self, HfError> {
        let json = fs::read(path).map_err(HfError::io(path))?;
        let fields: Fields =
            serde_json::from_slice(&json).map_err(|error| HfError::config(path, error))?;
        Reader { path, fields }.read()
    }
}

struct Reader<'a> {
    path: &'a Path,
    fields: Fields,
}

impl Reader<'_> {
    fn read(self) -> Result<HfConfig, HfError> {
        let family = self.family()?;
        self.check_choices()?;
        let lm = self.lm(family)?;
        Ok(HfConfig {
            family,
            lm,
            bos_token_id: token_ids(&self.fields.bos_token_id).first().copied(),
            eos_token_ids: token_ids(&self.fields.eos_token_id),
            quantization: self.fields.quantization_config,
        })
    }

    fn unsupported(&self, field: &str, found: impl ToString, supported: &str) -> HfError {
        HfError::Unsupported {
            path: self.path.to_path_buf(),
            field: field.to_string(),
            found: found.to_string(),
            supported: supported.to_string(),
        }
    }

    fn family(&self) -> Result<Family, HfError> {
        let names = self.fields.architectures.iter().flatten();
        let name = names.clone().next().map_or("missing", String::as_str);
        Family::of(name).ok_or_else(|| {
            let known = "BitNetForCausalLM, BitnetForCausalLM or LlamaForCausalLM";
            self.unsupported("architectures", name, known)
        })
    }

    /// Refuses what the layers do not do.
    fn check_choices(&self) -> Result<(), HfError> {
        let fields = &self.fields;
        for (field, bias) in [
            ("attention_bias", fields.attention_bias),
            ("mlp_bias", fields.mlp_bias),
        ] {
            if bias == Some(true) {
                return Err(self.unsupported(field, "true", "false"));
            }
        }
        for (field, bits, supported) in [
            ("weight_bits", fields.weight_bits, 1),
            ("input_bits", fields.input_bits, 8),
        ] {
            if let Some(found) = bits.filter(|bits| *bits != supported) {
                return Err(self.unsupported(field, found, &supported.to_string()));
            }
        }
        let Some(quantization) = &fields.quantization_config else {
            return Ok(());
        };
        if quantization.quant_method != "bitnet" {
            let found = &quantization.quant_method;
            return Err(self.unsupported("quantization_config.quant_method", found, "bitnet"));
        }
        if quantization.use_rms_norm {
            return Err(self.unsupported("quantization_config.use_rms_norm", true, "false"));
        }
        Ok(())
    }

    fn lm(&self, family: Family) -> Result<BitNetLmConfig, HfError> {
        let fields = &self.fields;
        self.check_sizes(family)?;
        let (theta, scaling) = self.rope(family)?;
        let config = BitNetLmConfig::new(
            fields.vocab_size,
            fields.hidden_size,
            fields.num_hidden_layers,
            fields.num_attention_heads,
            fields.intermediate_size,
        )
        .with_n_kv_heads(Some(self.n_kv_heads(family)))
        .with_max_positions(fields.max_position_embeddings.unwrap_or(2048))
        .with_rope_theta(theta)
        .with_rope_scaling(scaling)
        .with_rms_norm_epsilon(fields.rms_norm_eps.unwrap_or(match family {
            Family::Llama => 1e-6,
            _ => 1e-5,
        }))
        .with_activation(self.activation(family)?)
        .with_sub_norm(family.has_sub_norm())
        .with_tied_embeddings(fields.tie_word_embeddings.unwrap_or(false));
        Ok(config)
    }

    fn n_kv_heads(&self, family: Family) -> usize {
        self.fields.num_key_value_heads.unwrap_or(match family {
            Family::BitNet => 5,
            _ => self.fields.num_attention_heads,
        })
    }

    fn check_sizes(&self, family: Family) -> Result<(), HfError> {
        let fields = &self.fields;
        let (d_model, n_heads) = (fields.hidden_size, fields.num_attention_heads);
        let n_kv_heads = self.n_kv_heads(family);
        let wrong = |reason: String| Err(HfError::config(self.path, reason));
        for (field, size) in [
            ("vocab_size", fields.vocab_size),
            ("hidden_size", d_model),
            ("intermediate_size", fields.intermediate_size),
            ("num_attention_heads", n_heads),
            ("num_key_value_heads", n_kv_heads),
            (
                "max_position_embeddings",
                fields.max_position_embeddings.unwrap_or(1),
            ),
        ] {
            if size == 0 {
                return wrong(format!("{field} is 0"));
            }
        }
        if let Some(epsilon) = fields.rms_norm_eps.filter(|e| !(e.is_finite() && *e > 0.0)) {
            return wrong(format!("rms_norm_eps is {epsilon}"));
        }
        let pairs = n_heads.checked_mul(2);
        if !pairs.is_some_and(|pairs| d_model.is_multiple_of(pairs)) {
            return wrong(format!(
                "hidden_size {d_model} is not an even number for each of {n_heads} heads"
            ));
        }
        if !n_heads.is_multiple_of(n_kv_heads) {
            return wrong(format!(
                "num_attention_heads {n_heads} is no multiple of num_key_value_heads {n_kv_heads}"
            ));
        }
        let d_head = d_model / n_heads;
        match fields.head_dim {
            Some(found) if found != d_head => {
                let supported = format!("hidden_size / num_attention_heads, {d_head}");
                Err(self.unsupported("head_dim", found, &supported))
            }
            _ => Ok(()),
        }
    }

    fn activation(&self, family: Family) -> Result<GatedActivation, HfError> {
        match (self.fields.hidden_act.as_deref(), family) {
            (Some("silu" | "swish"), _) | (None, Family::Llama | Family::OneBitLlm) => {
                Ok(GatedActivation::Silu)
            }
            (Some("relu2"), _) | (None, Family::BitNet) => Ok(GatedActivation::SquaredRelu),
            (Some(found), _) => Err(self.unsupported("hidden_act", found, "silu or relu2")),
        }
    }

    fn rope(&self, family: Family) -> Result<(f32, Option<RopeScaling>), HfError> {
        let fields = &self.fields;
        let written = fields
            .rope_parameters
            .as_ref()
            .or(fields.rope_scaling.as_ref());
        let rope = match written {
            Some(value) => Rope::deserialize(value)
                .map_err(|error| HfError::config(self.path, format!("rope: {error}")))?,
            None => Rope::default(),
        };
        let default_theta = match family {
            Family::BitNet => 500_000.0,
            _ => 10_000.0,
        };
        let theta = rope
            .rope_theta
            .or(fields.rope_theta)
            .unwrap_or(default_theta);
        if !(theta.is_finite() && theta > 0.0) {
            return Err(HfError::config(self.path, format!("rope_theta is {theta}")));
        }
        let need = |field: &str, value: Option<f64>| {
            let missing = || HfError::config(self.path, format!("rope scaling has no {field}"));
            value
                .filter(|v| v.is_finite() && *v > 0.0)
                .ok_or_else(missing)
        };
        let scaling = match rope.rope_type.as_deref() {
            None | Some("default") => None,
            Some("linear") => Some(RopeScaling::Linear {
                factor: need("factor", rope.factor)?,
            }),
            Some("llama3") => Some(RopeScaling::Llama3 {
                factor: need("factor", rope.factor)?,
                low_freq_factor: need("low_freq_factor", rope.low_freq_factor)?,
                high_freq_factor: need("high_freq_factor", rope.high_freq_factor)?,
                original_max_positions: need(
                    "original_max_position_embeddings",
                    rope.original_max_position_embeddings.map(|n| n as f64),
                )? as usize,
            }),
            Some(other) => {
                return Err(self.unsupported("rope_type", other, "default, linear or llama3"));
            }
        };
        Ok((theta as f32, scaling))
    }
}

/// A number or a list of them; anything else names no token.
fn token_ids(value: &Option<Value>) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(changes: Value) -> Result<HfConfig, HfError> {
        let mut config = json!({
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": 100,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "eos_token_id": [1, 2],
        });
        let fields = config.as_object_mut().unwrap();
        fields.extend(changes.as_object().unwrap().clone());
        let fields = serde_json::from_value(config).unwrap();
        let path = Path::new("config.json");
        Reader { path, fields }.read()
    }

    fn error(changes: Value) -> String {
        read(changes).unwrap_err().to_string()
    }

    #[test]
    fn what_is_missing_is_as_transformers_has_it() {
        let config = read(json!({})).unwrap();
        assert_eq!(config.family, Family::Llama);
        assert_eq!(config.lm.n_kv_heads, Some(4));
        assert_eq!(config.lm.rope_theta, 10_000.0);
        assert_eq!(config.lm.rms_norm_epsilon, 1e-6);
        assert_eq!(config.lm.activation, GatedActivation::Silu);
        assert!(!config.lm.sub_norm && !config.lm.tied_embeddings);
        assert_eq!(config.eos_token_ids, [1, 2]);
    }

    #[test]
    fn rope_is_read_in_both_places() {
        let old =
            read(json!({"rope_theta": 5.0, "rope_scaling": {"type": "linear", "factor": 2.0}}));
        let old = old.unwrap().lm;
        assert_eq!(old.rope_theta, 5.0);
        assert_eq!(old.rope_scaling, Some(RopeScaling::Linear { factor: 2.0 }));
        let new = json!({"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}});
        assert_eq!(read(new).unwrap().lm.rope_theta, 7.0);
        let yarn = json!({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}});
        assert!(error(yarn).contains("rope_type is yarn, supported is default"));
    }

    #[test]
    fn what_has_no_layers_is_refused() {
        for (changes, message) in [
            (
                json!({"architectures": ["Qwen2ForCausalLM"]}),
                "architectures is Qwen2ForCausalLM",
            ),
            (json!({"attention_bias": true}), "attention_bias is true"),
            (
                json!({"hidden_act": "gelu"}),
                "hidden_act is gelu, supported is silu or relu2",
            ),
            (json!({"head_dim": 32}), "head_dim is 32"),
            (
                json!({"hidden_size": 63}),
                "hidden_size 63 is not an even number",
            ),
            (
                json!({"num_attention_heads": 1u64 << 63}),
                "hidden_size 64 is not an even number",
            ),
            (
                json!({"num_key_value_heads": 3}),
                "no multiple of num_key_value_heads 3",
            ),
            (json!({"vocab_size": 0}), "vocab_size is 0"),
            (json!({"rope_theta": -1.0}), "rope_theta is -1"),
            (json!({"rms_norm_eps": 0.0}), "rms_norm_eps is 0"),
            (
                json!({"weight_bits": 4}),
                "weight_bits is 4, supported is 1",
            ),
            (
                json!({"quantization_config": {"quant_method": "gptq"}}),
                "quant_method is gptq, supported is bitnet",
            ),
        ] {
            let error = error(changes);
            assert!(error.contains(message), "{error}");
        }
    }
}
