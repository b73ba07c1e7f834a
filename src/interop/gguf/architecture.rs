use crate::nn::{BitNetLmConfig, ProjectionBias, QkNorm};

/// Architectures of llama.cpp that models are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Architecture {
    /// `bitnet`: norms before the last projections of the blocks, SiLU, a head that is the embedding
    /// table.
    BitNet,
    /// `llama`: no such norms, SiLU; Mistral, too, and biases of the attention or of all projections.
    Llama,
    /// `qwen2`: as `llama` with biases of queries, keys and values.
    Qwen2,
    /// `qwen3`: as `llama` with norms of the queries and keys of each head.
    Qwen3,
}

impl Architecture {
    /// The names that are read, for an error.
    pub(super) const NAMES: &str = "bitnet, bitnet-b1.58, bitnet-25, llama, qwen2 or qwen3";

    /// The architecture that a model is written as.
    pub fn for_config(config: &BitNetLmConfig) -> Self {
        match (config.sub_norm, config.qk_norm, config.bias) {
            (true, _, _) => Self::BitNet,
            (false, QkNorm::PerHead, _) => Self::Qwen3,
            (false, _, ProjectionBias::QKV) => Self::Qwen2,
            _ => Self::Llama,
        }
    }

    /// The architecture of a name in `general.architecture`; the names of bitnet.cpp's fork mean the
    /// same.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "bitnet" | "bitnet-25" | "bitnet-b1.58" => Some(Self::BitNet),
            "llama" => Some(Self::Llama),
            "qwen2" => Some(Self::Qwen2),
            "qwen3" => Some(Self::Qwen3),
            _ => None,
        }
    }

    /// The name in `general.architecture`, which keys begin with.
    pub fn name(self) -> &'static str {
        match self {
            Self::BitNet => "bitnet",
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// Whether the rows of queries and keys are stored in pairs that turn together, instead of in
    /// halves.
    pub(super) fn has_paired_rows(self) -> bool {
        self == Self::Llama
    }

    /// Whether llama.cpp divides frequencies by `rope_freqs.weight`.
    pub(super) fn has_rope_factors(self) -> bool {
        self == Self::Llama
    }

    /// Whether heads may have another size than `d_model / n_heads`.
    pub(super) fn has_head_size(self) -> bool {
        matches!(self, Self::Llama | Self::Qwen3)
    }

    /// Whether a part of a head may be turned: llama.cpp refuses it for the other ones.
    pub(super) fn has_partial_rotary(self) -> bool {
        self == Self::BitNet
    }
}

/// The name of a parameter in a file, by its path in [`BitNetLm`](crate::nn::BitNetLm).
pub(super) fn tensor_name(path: &str) -> Option<String> {
    let whole = match path {
        "model.embed_tokens.weight" => Some("token_embd.weight"),
        "model.norm.gamma" => Some("output_norm.weight"),
        "lm_head.weight" => Some("output.weight"),
        _ => None,
    };
    if let Some(name) = whole {
        return Some(name.to_string());
    }
    let (layer, rest) = path.strip_prefix("model.layers.")?.split_once('.')?;
    let (module, parameter) = rest.rsplit_once('.')?;
    let (name, is_norm) = match module {
        "input_layernorm" => ("attn_norm", true),
        "self_attn.q_proj" => ("attn_q", false),
        "self_attn.k_proj" => ("attn_k", false),
        "self_attn.v_proj" => ("attn_v", false),
        "self_attn.o_proj" => ("attn_output", false),
        "self_attn.q_norm" => ("attn_q_norm", true),
        "self_attn.k_norm" => ("attn_k_norm", true),
        "self_attn.attn_sub_norm" => ("attn_sub_norm", true),
        "post_attention_layernorm" => ("ffn_norm", true),
        "mlp.gate_proj" => ("ffn_gate", false),
        "mlp.up_proj" => ("ffn_up", false),
        "mlp.down_proj" => ("ffn_down", false),
        "mlp.ffn_sub_norm" => ("ffn_sub_norm", true),
        _ => return None,
    };
    let kind = match (is_norm, parameter) {
        (true, "gamma") | (false, "weight") => "weight",
        (false, "bias") => "bias",
        _ => return None,
    };
    Some(format!("blk.{layer}.{name}.{kind}"))
}

/// The name of a scale that a file has beside a weight.
pub(super) fn scale_name(weight: &str) -> String {
    format!("{}.scale", weight.trim_end_matches(".weight"))
}

/// Heads of a projection whose rows are turned by their positions.
pub(super) fn turned_heads(path: &str, config: &BitNetLmConfig) -> Option<usize> {
    match path.rsplit('.').nth(1) {
        Some("q_proj") => Some(config.n_heads),
        Some("k_proj") => Some(config.key_value_heads()),
        _ => None,
    }
}

/// Elements of a row of a parameter, of which a bias has one.
pub(super) fn row_len(shape: &[usize]) -> usize {
    match shape {
        [_, row_len] => *row_len,
        _ => 1,
    }
}

/// Rows `i` and `i + d / 2` of each head side by side, as ggml turns them.
pub(super) fn pair_rows<T: Copy>(values: &[T], heads: usize, row_len: usize) -> Vec<T> {
    reorder(values, heads, row_len, |row, half| row % 2 * half + row / 2)
}

/// The inverse of [`pair_rows`].
pub(super) fn unpair_rows<T: Copy>(values: &[T], heads: usize, row_len: usize) -> Vec<T> {
    reorder(values, heads, row_len, |row, half| {
        row % half * 2 + row / half
    })
}

fn reorder<T: Copy>(
    values: &[T],
    heads: usize,
    row_len: usize,
    source: impl Fn(usize, usize) -> usize,
) -> Vec<T> {
    let d_head = values.len() / (heads * row_len).max(1);
    let rows = (0..heads * d_head).map(|row| {
        let (head, row) = (row / d_head, row % d_head);
        head * d_head + source(row, d_head / 2)
    });
    rows.flat_map(|row| &values[row * row_len..(row + 1) * row_len])
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_paired_as_llama_cpp_does() {
        // Two heads of four rows of one value.
        let values = [0, 1, 2, 3, 10, 11, 12, 13];
        let paired = pair_rows(&values, 2, 1);
        assert_eq!(paired, [0, 2, 1, 3, 10, 12, 11, 13]);
        assert_eq!(unpair_rows(&paired, 2, 1), values);
        let wide: Vec<i32> = (0..48).collect();
        assert_eq!(unpair_rows(&pair_rows(&wide, 2, 4), 2, 4), wide);
    }

    #[test]
    fn names_are_those_of_llama_cpp() {
        let name = |path: &str| tensor_name(path).unwrap();
        assert_eq!(
            name("model.layers.7.mlp.ffn_sub_norm.gamma"),
            "blk.7.ffn_sub_norm.weight"
        );
        assert_eq!(
            scale_name(&name("model.layers.0.self_attn.o_proj.weight")),
            "blk.0.attn_output.scale"
        );
        assert_eq!(
            name("model.layers.1.self_attn.q_proj.bias"),
            "blk.1.attn_q.bias"
        );
        assert_eq!(
            name("model.layers.1.self_attn.k_norm.gamma"),
            "blk.1.attn_k_norm.weight"
        );
        assert_eq!(
            tensor_name("model.layers.0.self_attn.q_proj.weight_quant.control.state"),
            None
        );
    }
}
