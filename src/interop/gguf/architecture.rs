use crate::nn::BitNetLmConfig;

/// Architectures of llama.cpp that models are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Architecture {
    /// `bitnet`: norms before the last projections of the blocks, SiLU, a head that is the embedding
    /// table.
    BitNet,
    /// `llama`: no such norms, SiLU.
    Llama,
}

impl Architecture {
    /// The names that are read, for an error.
    pub(super) const NAMES: &str = "bitnet, bitnet-b1.58, bitnet-25 or llama";

    /// The architecture that a model is written as.
    pub fn for_config(config: &BitNetLmConfig) -> Self {
        match config.sub_norm {
            true => Self::BitNet,
            false => Self::Llama,
        }
    }

    /// The architecture of a name in `general.architecture`; the names of bitnet.cpp's fork mean the
    /// same.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "bitnet" | "bitnet-25" | "bitnet-b1.58" => Some(Self::BitNet),
            "llama" => Some(Self::Llama),
            _ => None,
        }
    }

    /// The name in `general.architecture`, which keys begin with.
    pub fn name(self) -> &'static str {
        match self {
            Self::BitNet => "bitnet",
            Self::Llama => "llama",
        }
    }

    /// Whether the rows of queries and keys are stored in pairs that turn together, instead of in
    /// halves.
    pub(super) fn has_paired_rows(self) -> bool {
        self == Self::Llama
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
    let name = match rest {
        "input_layernorm.gamma" => "attn_norm",
        "self_attn.q_proj.weight" => "attn_q",
        "self_attn.k_proj.weight" => "attn_k",
        "self_attn.v_proj.weight" => "attn_v",
        "self_attn.o_proj.weight" => "attn_output",
        "self_attn.attn_sub_norm.gamma" => "attn_sub_norm",
        "post_attention_layernorm.gamma" => "ffn_norm",
        "mlp.gate_proj.weight" => "ffn_gate",
        "mlp.up_proj.weight" => "ffn_up",
        "mlp.down_proj.weight" => "ffn_down",
        "mlp.ffn_sub_norm.gamma" => "ffn_sub_norm",
        _ => return None,
    };
    Some(format!("blk.{layer}.{name}.weight"))
}

/// The name of a scale that a file has beside a weight.
pub(super) fn scale_name(weight: &str) -> String {
    format!("{}.scale", weight.trim_end_matches(".weight"))
}

/// Heads of a projection whose rows are turned by their positions.
pub(super) fn turned_heads(path: &str, config: &BitNetLmConfig) -> Option<usize> {
    match path.rsplit('.').nth(1) {
        Some("q_proj") => Some(config.n_heads),
        Some("k_proj") => Some(config.n_kv_heads.unwrap_or(config.n_heads)),
        _ => None,
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
            tensor_name("model.layers.0.self_attn.q_proj.weight_quant.control.state"),
            None
        );
    }
}
