//! The parameters of a language model: one table for the files of all programs.

use super::floats::Order;
use crate::nn::{BitNetLmConfig, QkNorm};
use Role::*;

/// Role of a module in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Embedding table.
    Embedding,
    /// Output head, where it is not the embedding table.
    Head,
    /// Norm of a block or of the last hidden states.
    Norm,
    /// Norm of queries or keys.
    HeadNorm,
    /// Norm before the last projection of a block.
    SubNorm,
    /// Projection to the queries.
    Query,
    /// Projection to the keys.
    Key,
    /// Projection to the values.
    Value,
    /// Projection out of the attention.
    Output,
    /// Projection of the feed-forward block.
    FeedForward,
}

/// Dimension of a parameter.
#[derive(Clone, Copy)]
enum Size {
    Vocab,
    Model,
    Hidden,
    Head,
    Heads,
    KeyValueHeads,
}

/// Module with a weight, and its names.
pub(super) struct ModuleRow {
    role: Role,
    /// Path in [`BitNetLm`](crate::nn::BitNetLm) and transformers, in a layer behind `model.layers.N.`.
    path: &'static str,
    /// Path in folders of 1bitLLM.
    one_bit_llm: &'static str,
    /// Name in GGUF, in a layer behind `blk.N.`.
    gguf: &'static str,
    /// Shape of the weight in files, `[d_output, d_input]` of matrices.
    shape: &'static [Size],
}

const fn row(
    role: Role,
    path: &'static str,
    gguf: &'static str,
    shape: &'static [Size],
) -> ModuleRow {
    ModuleRow {
        role,
        path,
        one_bit_llm: path,
        gguf,
        shape,
    }
}

impl ModuleRow {
    const fn in_one_bit_llm(self, one_bit_llm: &'static str) -> Self {
        Self {
            one_bit_llm,
            ..self
        }
    }
}

#[rustfmt::skip]
pub(super) const EMBEDDING: ModuleRow =
    row(Embedding,   "model.embed_tokens",       "token_embd",    &[Size::Vocab, Size::Model]);
#[rustfmt::skip]
pub(super) const HEAD: ModuleRow =
    row(Head,        "lm_head",                  "output",        &[Size::Vocab, Size::Model]);

/// Modules outside of the layers.
const MODEL: [ModuleRow; 3] = [
    EMBEDDING,
    row(Norm, "model.norm", "output_norm", &[Size::Model]),
    HEAD,
];

/// Modules of a layer.
#[rustfmt::skip]
const LAYER: [ModuleRow; 13] = [
    row(Norm,        "input_layernorm",          "attn_norm",     &[Size::Model]),
    row(Norm,        "post_attention_layernorm", "ffn_norm",      &[Size::Model]),
    row(HeadNorm,    "self_attn.q_norm",         "attn_q_norm",   &[Size::Head]),
    row(HeadNorm,    "self_attn.k_norm",         "attn_k_norm",   &[Size::Head]),
    row(SubNorm,     "self_attn.attn_sub_norm",  "attn_sub_norm", &[Size::Heads])
        .in_one_bit_llm("self_attn.inner_attn_ln"),
    row(SubNorm,     "mlp.ffn_sub_norm",         "ffn_sub_norm",  &[Size::Hidden])
        .in_one_bit_llm("mlp.ffn_layernorm"),
    row(Query,       "self_attn.q_proj",         "attn_q",        &[Size::Heads, Size::Model]),
    row(Key,         "self_attn.k_proj",         "attn_k",        &[Size::KeyValueHeads, Size::Model]),
    row(Value,       "self_attn.v_proj",         "attn_v",        &[Size::KeyValueHeads, Size::Model]),
    row(Output,      "self_attn.o_proj",         "attn_output",   &[Size::Model, Size::Heads]),
    row(FeedForward, "mlp.gate_proj",            "ffn_gate",      &[Size::Hidden, Size::Model]),
    row(FeedForward, "mlp.up_proj",              "ffn_up",        &[Size::Hidden, Size::Model]),
    row(FeedForward, "mlp.down_proj",            "ffn_down",      &[Size::Model, Size::Hidden]),
];

/// Parameter of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    pub role: Role,
    pub is_bias: bool,
    /// Path in [`BitNetLm`](crate::nn::BitNetLm), such as `model.layers.0.self_attn.q_proj.weight`.
    pub path: String,
    /// Name in folders of transformers.
    pub hf: String,
    /// Name in folders of 1bitLLM.
    pub one_bit_llm: String,
    /// Name in GGUF files.
    pub gguf: String,
    /// Shape in files, `[d_output, d_input]` of matrices.
    pub shape: Vec<usize>,
    /// Heads whose rows are rotated by their positions.
    pub rope_heads: Option<usize>,
}

/// Parameters that a model has, in the order of files.
pub(super) fn parameters(config: &BitNetLmConfig) -> Vec<Parameter> {
    let of_model = MODEL.iter().map(|row| (None, row));
    let of_layers =
        (0..config.n_layers).flat_map(|layer| LAYER.iter().map(move |row| (Some(layer), row)));
    let rows = of_model.chain(of_layers);
    let rows = rows.filter(|(_, row)| row.role.is_in(config));
    rows.flat_map(|(layer, row)| row.parameters(layer, config))
        .collect()
}

impl Role {
    /// Whether a model has modules of the role.
    fn is_in(self, config: &BitNetLmConfig) -> bool {
        match self {
            Head => !config.tied_embeddings,
            HeadNorm => config.qk_norm == QkNorm::PerHead,
            SubNorm => config.sub_norm,
            _ => true,
        }
    }

    /// Whether a module is a projection, which may be packed.
    fn is_projection(self) -> bool {
        matches!(self, Query | Key | Value | Output | FeedForward)
    }

    fn has_bias(self, config: &BitNetLmConfig) -> bool {
        match self {
            Query | Key | Value => config.bias.qkv,
            Output => config.bias.output,
            FeedForward => config.bias.feed_forward,
            _ => false,
        }
    }

    fn rope_heads(self, config: &BitNetLmConfig) -> Option<usize> {
        match self {
            Query => Some(config.n_heads),
            Key => Some(config.key_value_heads()),
            _ => None,
        }
    }
}

impl Size {
    fn of(self, config: &BitNetLmConfig) -> usize {
        match self {
            Self::Vocab => config.vocab_size,
            Self::Model => config.d_model,
            Self::Hidden => config.d_ff,
            Self::Head => config.head_size(),
            Self::Heads => config.n_heads * config.head_size(),
            Self::KeyValueHeads => config.key_value_heads() * config.head_size(),
        }
    }
}

impl ModuleRow {
    /// Name of the weight in folders of transformers, of a module outside of the layers.
    pub fn hf(&self) -> String {
        format!("{}.weight", self.path)
    }

    /// Name of the weight in GGUF files, of a module outside of the layers.
    pub fn gguf(&self) -> String {
        format!("{}.weight", self.gguf)
    }

    /// The bias, where there is one, and the weight.
    fn parameters(
        &self,
        layer: Option<usize>,
        config: &BitNetLmConfig,
    ) -> impl Iterator<Item = Parameter> {
        let is_bias = [true, false].into_iter();
        let is_bias = is_bias.filter(|is_bias| !is_bias || self.role.has_bias(config));
        is_bias.map(move |is_bias| self.parameter(layer, is_bias, config))
    }

    fn parameter(&self, layer: Option<usize>, is_bias: bool, config: &BitNetLmConfig) -> Parameter {
        let in_files = if is_bias { "bias" } else { "weight" };
        let in_model = match self.role {
            Norm | HeadNorm | SubNorm => "gamma",
            _ => in_files,
        };
        let layers = |prefix: &str| layer.map_or(String::new(), |n| format!("{prefix}.{n}."));
        let (layer, block) = (layers("model.layers"), layers("blk"));
        let dims = if is_bias { 1 } else { self.shape.len() };
        let shape = self.shape[..dims].iter();
        Parameter {
            role: self.role,
            is_bias,
            path: format!("{layer}{}.{in_model}", self.path),
            hf: format!("{layer}{}.{in_files}", self.path),
            one_bit_llm: format!("{layer}{}.{in_files}", self.one_bit_llm),
            gguf: format!("{block}{}.{in_files}", self.gguf),
            shape: shape.map(|size| size.of(config)).collect(),
            rope_heads: self.role.rope_heads(config),
        }
    }
}

impl Parameter {
    /// Whether it is the weight of a projection, which may be packed.
    pub fn is_projection(&self) -> bool {
        self.role.is_projection() && !self.is_bias
    }

    /// Path of the module that has it, such as `model.layers.0.self_attn.q_proj`.
    pub fn module(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(module, _)| module)
    }

    /// Name of the scale that a GGUF file may have beside the weight.
    pub fn gguf_scale(&self) -> String {
        format!("{}.scale", self.gguf.trim_end_matches(".weight"))
    }

    /// Order of the values of files in a tensor: linear maps are `[d_input, d_output]` in Burn.
    pub fn order(&self) -> Order {
        match self.shape[..] {
            [rows, columns] if self.role != Embedding => Order::Transposed([rows, columns]),
            _ => Order::Kept,
        }
    }

    /// Shape of the tensor in the model.
    pub fn tensor_shape(&self) -> Vec<usize> {
        match self.order() {
            Order::Transposed([rows, columns]) => vec![columns, rows],
            Order::Kept => self.shape.clone(),
        }
    }

    /// Values of a row in files, of which a bias has one.
    pub fn row_len(&self) -> usize {
        self.shape.get(1).copied().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use burn::{module::Module, nn::Linear, tensor::Device};

    use super::*;
    use crate::{
        interop::{
            CausalLm,
            parameters::{ModelValues, Values},
        },
        nn::{BitNetLm, ProjectionBias},
    };

    #[test]
    fn the_table_has_the_parameters_of_a_model() {
        let plain = BitNetLmConfig::new(10, 12, 2, 3, 20).with_n_kv_heads(Some(1));
        let other = plain
            .clone()
            .with_sub_norm(false)
            .with_qk_norm(QkNorm::PerHead)
            .with_bias(ProjectionBias::new(true, false, true))
            .with_tied_embeddings(false)
            .with_d_head(Some(6));
        for config in [plain, other] {
            let lm: BitNetLm<Linear> = config.init(&Device::default());
            let num_params = lm.num_params();
            let table = parameters(&config);
            let mut values = ModelValues::floats(&CausalLm::Full(lm), &table).unwrap();
            for parameter in &table {
                // In the shape of the table.
                assert!(matches!(values.take(parameter), Some(Values::Floats(_))));
            }
            let sizes = table.iter().map(|p| p.shape.iter().product::<usize>());
            assert_eq!(sizes.sum::<usize>(), num_params);
        }
    }

    #[test]
    fn names_are_those_of_transformers_and_llama_cpp() {
        let config = BitNetLmConfig::new(10, 12, 8, 3, 20)
            .with_bias(ProjectionBias::new(true, true, true))
            .with_qk_norm(QkNorm::PerHead);
        let all = parameters(&config);
        let of = |path: &str| all.iter().find(|p| p.path == path).unwrap();
        let norm = of("model.layers.7.mlp.ffn_sub_norm.gamma");
        assert_eq!(norm.gguf, "blk.7.ffn_sub_norm.weight");
        assert_eq!(norm.hf, "model.layers.7.mlp.ffn_sub_norm.weight");
        let output = of("model.layers.0.self_attn.o_proj.weight");
        assert_eq!(output.gguf_scale(), "blk.0.attn_output.scale");
        assert_eq!(output.module(), "model.layers.0.self_attn.o_proj");
        let bias = of("model.layers.1.self_attn.q_proj.bias");
        assert_eq!(bias.gguf, "blk.1.attn_q.bias");
        assert_eq!((bias.rope_heads, bias.row_len()), (Some(3), 1));
        let norm = of("model.layers.1.self_attn.k_norm.gamma");
        assert_eq!(
            (norm.gguf.as_str(), norm.rope_heads),
            ("blk.1.attn_k_norm.weight", None)
        );
    }
}
