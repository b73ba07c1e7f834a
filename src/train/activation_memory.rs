//! Memory of the activations of a training step; as measured on Burn 0.22.

use burn::module::Module;

use crate::nn::{BitNetLm, DecoderLayer, Projection, SavedInput, SavedTensors};

/// Returns the bytes that a forward pass of `batch` sequences of `positions` saves for backward.
pub(super) fn saved_bytes<P: Projection>(
    lm: &BitNetLm<P>,
    batch: usize,
    positions: usize,
) -> usize {
    let [_, d_model] = lm.model.embed_tokens.weight.shape().dims();
    let tokens = batch * positions;
    let layers = lm.model.layers.iter();
    of_head(lm, tokens)
        + layers
            .map(|layer| of_layer(layer, tokens, d_model))
            .sum::<usize>()
}

/// Returns the bytes saved by the head: the input of the final norm, its output and the logits.
pub(super) fn of_head<P: Projection>(lm: &BitNetLm<P>, tokens: usize) -> usize {
    let [vocab_size, d_model] = lm.model.embed_tokens.weight.shape().dims();
    4 * tokens * (2 * d_model + vocab_size)
}

/// Returns the bytes saved by the layer that saves most.
pub(super) fn of_largest_layer<P: Projection>(lm: &BitNetLm<P>, tokens: usize) -> usize {
    let [_, d_model] = lm.model.embed_tokens.weight.shape().dims();
    let layers = lm.model.layers.iter();
    let saved = layers.map(|layer| of_layer(layer, tokens, d_model));
    saved.max().unwrap_or(0)
}

/// Returns the bytes of the inputs of the layers and the head, which gradient checkpointing keeps.
pub(super) fn of_inputs<P: Projection>(lm: &BitNetLm<P>, tokens: usize) -> usize {
    let [_, d_model] = lm.model.embed_tokens.weight.shape().dims();
    4 * tokens * d_model * lm.model.layers.len()
}

/// Returns the bytes from which the backward pass of a layer of its own begins: output and gradient, their product and
/// its gradient.
pub(super) fn of_root<P: Projection>(lm: &BitNetLm<P>, tokens: usize) -> usize {
    let [_, d_model] = lm.model.embed_tokens.weight.shape().dims();
    4 * 4 * tokens * d_model
}

/// Returns the bytes of the largest tensor of a forward pass on Flex: hidden values of a layer, or the
/// logits. (Other backends also compute scores of a layer, and free them.)
pub(super) fn largest_bytes<P: Projection>(
    lm: &BitNetLm<P>,
    batch: usize,
    positions: usize,
) -> usize {
    let [vocab_size, _] = lm.model.embed_tokens.weight.shape().dims();
    let tokens = batch * positions;
    largest_in_layers(lm, tokens).max(4 * tokens * vocab_size)
}

/// Returns the bytes of the largest tensor of the layers: hidden values.
pub(super) fn largest_in_layers<P: Projection>(lm: &BitNetLm<P>, tokens: usize) -> usize {
    let layers = lm.model.layers.iter();
    let widths = layers.map(|layer| layer.mlp.d_ff().max(layer.self_attn.heads_size()));
    4 * tokens * widths.max().unwrap_or(0)
}

/// Returns the bytes of the largest input of a projection that backward computes again.
pub(super) fn recomputed_bytes<P: Projection>(lm: &BitNetLm<P>, tokens: usize) -> usize {
    let of_projection = |layer: &DecoderLayer<P>, name: &str, saved: SavedInput| match saved {
        SavedInput::Recomputed if name.ends_with("down_proj") => layer.mlp.d_ff(),
        SavedInput::Recomputed => layer.self_attn.heads_size(),
        _ => 0,
    };
    let layers = lm.model.layers.iter();
    let widths = layers.flat_map(|layer| {
        let projections = layer.projections();
        projections.map(move |(name, p)| of_projection(layer, &name, p.saved().input))
    });
    4 * tokens * widths.max().unwrap_or(0)
}

/// Returns the bytes saved by a layer: inputs of its norms and projections, queries, keys and values, gate and
/// up.
fn of_layer<P: Projection>(layer: &DecoderLayer<P>, tokens: usize, d_model: usize) -> usize {
    let (attention, mlp) = (&layer.self_attn, &layer.mlp);
    let [n_kv_heads, d_head] = attention.key_shape();
    let (d_heads, d_kv, d_ff) = (
        attention.heads_size(),
        n_kv_heads * d_head,
        layer.mlp.d_ff(),
    );
    let norms = [
        (&attention.q_norm, d_heads),
        (&attention.k_norm, d_kv),
        (&attention.attn_sub_norm, d_heads),
        (&mlp.ffn_sub_norm, d_ff),
    ];
    let norms = norms.into_iter().filter(|(norm, _)| norm.is_some());
    let normalized = 2 * d_model + norms.map(|(_, size)| size).sum::<usize>();
    let input = [&attention.q_proj, &attention.k_proj, &attention.v_proj];
    4 * tokens * (normalized + d_heads + 2 * d_kv + 2 * d_ff)
        + of_projections(&input, tokens * d_model, true)
        + of_projections(
            &[&attention.o_proj],
            tokens * d_heads,
            attention.attn_sub_norm.is_some(),
        )
        + of_projections(&[&mlp.gate_proj, &mlp.up_proj], tokens * d_model, true)
        + of_projections(&[&mlp.down_proj], tokens * d_ff, true)
}

/// Returns the bytes saved by projections of the same input of `values` values, which can be computed again or not.
fn of_projections<P: Projection>(projections: &[&P], values: usize, again: bool) -> usize {
    let saved: Vec<SavedTensors> = projections.iter().map(|p| p.saved()).collect();
    let shared = match saved.iter().map(|saved| saved.input).max() {
        None | Some(SavedInput::Unused) => 0,
        Some(SavedInput::Recomputed) if again => 0,
        Some(_) => 4 * values,
    };
    let own = saved.iter().zip(projections).map(|(saved, projection)| {
        let weight = match saved.weight_copy {
            true => 4 * Module::num_params(*projection),
            false => 0,
        };
        saved.input_copy * values + weight
    });
    shared + own.sum::<usize>()
}
