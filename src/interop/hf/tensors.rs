//! The tensors that an architecture has in a file.

use std::collections::BTreeSet;

use safetensors::{Dtype, tensor::TensorInfo};

use super::{
    Family, TensorProblem,
    checkpoint::Checkpoint,
    floats::{FLOAT_TYPES, float_dtype},
    head::{HEAD, Head},
};
use crate::nn::{BitNetLmConfig, QkNorm};

/// Ending of the scale of a packed weight, after `.weight`.
pub(super) const SCALE_SUFFIX: &str = "_scale";

/// Buffers that old files have and nobody reads.
const BUFFERS: [&str; 4] = [
    ".rotary_emb.inv_freq",
    ".rotary_emb.cos_cached",
    ".rotary_emb.sin_cached",
    ".self_attn.masked_bias",
];

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExpectedTensor {
    pub name: String,
    /// Shape in the file; of the codes, if packed.
    pub shape: Vec<usize>,
    pub kind: TensorKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TensorKind {
    Float,
    Codes,
    Scale,
}

/// All tensors of a model. `is_packed` is asked for the projections by their paths.
pub(super) fn expected(
    config: &BitNetLmConfig,
    family: Family,
    is_packed: impl Fn(&str) -> bool,
) -> Vec<ExpectedTensor> {
    let (d_model, d_head) = (config.d_model, config.head_size());
    let float = |path: &str, shape: &[usize]| ExpectedTensor {
        name: family.tensor_name(path),
        shape: shape.to_vec(),
        kind: TensorKind::Float,
    };
    let mut tensors = vec![
        float("model.embed_tokens.weight", &[config.vocab_size, d_model]),
        float("model.norm.gamma", &[d_model]),
    ];
    if !config.tied_embeddings {
        tensors.push(float("lm_head.weight", &[config.vocab_size, d_model]));
    }
    for layer in 0..config.n_layers {
        let path = |name: &str| format!("model.layers.{layer}.{name}");
        let mut norms = vec![
            ("input_layernorm.gamma", d_model),
            ("post_attention_layernorm.gamma", d_model),
        ];
        if config.qk_norm == QkNorm::PerHead {
            norms.push(("self_attn.q_norm.gamma", d_head));
            norms.push(("self_attn.k_norm.gamma", d_head));
        }
        if family.has_sub_norm() {
            norms.push(("self_attn.attn_sub_norm.gamma", config.n_heads * d_head));
            norms.push(("mlp.ffn_sub_norm.gamma", config.d_ff));
        }
        tensors.extend(norms.iter().map(|(name, d)| float(&path(name), &[*d])));
        for (name, [d_output, d_input], bias) in projections(config) {
            if bias {
                tensors.push(float(&format!("{}.bias", path(name)), &[d_output]));
            }
            let packed = is_packed(&path(name));
            let name = path(name) + ".weight";
            match packed {
                false => tensors.push(float(&name, &[d_output, d_input])),
                true => tensors.extend([
                    ExpectedTensor {
                        name: name.clone(),
                        shape: vec![d_output.div_ceil(4), d_input],
                        kind: TensorKind::Codes,
                    },
                    ExpectedTensor {
                        name: name + SCALE_SUFFIX,
                        shape: vec![1],
                        kind: TensorKind::Scale,
                    },
                ]),
            }
        }
    }
    tensors
}

/// The projections of a layer, with outputs and inputs, and if they have a bias.
fn projections(config: &BitNetLmConfig) -> [(&'static str, [usize; 2], bool); 7] {
    let (d_model, d_ff, bias) = (config.d_model, config.d_ff, config.bias);
    let d_heads = config.n_heads * config.head_size();
    let d_kv = config.key_value_heads() * config.head_size();
    [
        ("self_attn.q_proj", [d_heads, d_model], bias.qkv),
        ("self_attn.k_proj", [d_kv, d_model], bias.qkv),
        ("self_attn.v_proj", [d_kv, d_model], bias.qkv),
        ("self_attn.o_proj", [d_model, d_heads], bias.output),
        ("mlp.gate_proj", [d_ff, d_model], bias.feed_forward),
        ("mlp.up_proj", [d_ff, d_model], bias.feed_forward),
        ("mlp.down_proj", [d_model, d_ff], bias.feed_forward),
    ]
}

/// Everything about the tensors of a checkpoint that is not as expected.
pub(super) fn problems(
    checkpoint: &Checkpoint,
    expected: &[ExpectedTensor],
    head: Head,
) -> Vec<TensorProblem> {
    let known: BTreeSet<&str> = expected.iter().map(|tensor| tensor.name.as_str()).collect();
    let ignored = |name: &str| {
        // Some programs write the head that is the embedding table, too.
        (head != Head::Own && name == HEAD) || BUFFERS.iter().any(|buffer| name.ends_with(buffer))
    };
    let unexpected = checkpoint.entries().map(|(name, _)| name);
    let unexpected = unexpected.filter(|name| !known.contains(name) && !ignored(name));
    let of_expected =
        expected.iter().filter_map(
            |tensor| match checkpoint.get(head.file_name(&tensor.name)) {
                Some(entry) => problem(tensor, &entry.info),
                None => Some(TensorProblem::Missing {
                    name: tensor.name.clone(),
                    shape: tensor.shape.clone(),
                }),
            },
        );
    of_expected
        .chain(unexpected.map(|name| TensorProblem::Unexpected {
            name: name.to_string(),
        }))
        .collect()
}

fn problem(expected: &ExpectedTensor, found: &TensorInfo) -> Option<TensorProblem> {
    let name = expected.name.clone();
    let types = match expected.kind {
        TensorKind::Codes => "U8",
        TensorKind::Float | TensorKind::Scale => FLOAT_TYPES,
    };
    let right_type = match expected.kind {
        TensorKind::Codes => found.dtype == Dtype::U8,
        TensorKind::Float | TensorKind::Scale => float_dtype(found.dtype).is_some(),
    };
    if !right_type {
        return Some(TensorProblem::DType {
            name,
            expected: types,
            found: format!("{:?}", found.dtype),
        });
    }
    // A scale is written as a scalar, too.
    let scalar = expected.kind == TensorKind::Scale && found.shape.is_empty();
    (found.shape != expected.shape && !scalar).then(|| TensorProblem::Shape {
        name,
        expected: expected.shape.clone(),
        found: found.shape.clone(),
    })
}
