//! Causal attention as Burn operations.

use burn::backend::{
    Backend, FloatDType, Shape, TensorMetadata, get_or_init_device_settings,
    tensor::{BoolTensor, FloatTensor},
};

/// Scaled queries `[batch, key_heads, heads / key_heads * positions, d_head]`, and attention weights
/// `[.., heads / key_heads * positions, length]` in `f32`. The query heads of a key head are merged into
/// the positions, so that the keys are not copied.
struct Weighted<B: Backend> {
    query: FloatTensor<B>,
    weights: FloatTensor<B>,
}

/// Returns the causal mask `[positions, length]`, true where a key is masked.
fn hidden<B: Backend>(query: &FloatTensor<B>, positions: usize, length: usize) -> BoolTensor<B> {
    let device = query.device();
    let settings = get_or_init_device_settings::<B>(&device);
    let first = (length - positions) as i64;
    let arange = |range| B::int_arange(range, &device, settings.int_dtype);
    let rows = arange(first..length as i64);
    let columns = arange(0..length as i64);
    let rows = B::int_reshape(rows, Shape::new([positions, 1]));
    let columns = B::int_reshape(columns, Shape::new([1, length]));
    B::int_lower(rows, columns, settings.bool_dtype)
}

/// Reshapes `[batch, heads, positions, ..]` so that the query heads of a key head become positions.
fn grouped<B: Backend>(x: FloatTensor<B>, key_heads: usize) -> FloatTensor<B> {
    let [batch, heads, positions, n] = x.shape().dims();
    let shape = Shape::new([batch, key_heads, heads / key_heads * positions, n]);
    B::float_reshape(x, shape)
}

fn scale<B: Backend>(query: &FloatTensor<B>) -> f64 {
    let [.., d_head] = query.shape().dims::<4>();
    (d_head as f64).sqrt().recip()
}

fn weighted<B: Backend>(query: FloatTensor<B>, key: FloatTensor<B>) -> Weighted<B> {
    let [batch, heads, positions, _] = query.shape().dims();
    let [_, key_heads, length, _] = key.shape().dims();
    // Scaling the queries is cheaper than scaling the scores, which are more values.
    let scale = scale::<B>(&query);
    let query = B::float_mul_scalar(query, scale.into());
    let mask = (positions > 1).then(|| hidden::<B>(&query, positions, length));
    let query = grouped::<B>(query, key_heads);
    let scores = B::float_matmul(query.clone(), B::float_swap_dims(key, 2, 3));
    let mut scores = B::float_cast(scores, FloatDType::F32);
    if let Some(mask) = mask {
        let shape = Shape::new([batch, heads, positions, length]);
        let mask = B::bool_reshape(mask, Shape::new([1, 1, positions, length]));
        let mask = B::bool_expand(mask, shape.clone());
        let by_head = B::float_reshape(scores, shape);
        let masked = B::float_mask_fill(by_head, mask, f32::NEG_INFINITY.into());
        scores = grouped::<B>(masked, key_heads);
    }
    Weighted {
        query,
        weights: B::softmax(scores, 3),
    }
}

pub(in crate::ops) fn causal_attention<B: Backend>(
    query: FloatTensor<B>,
    key: FloatTensor<B>,
    value: FloatTensor<B>,
) -> FloatTensor<B> {
    let (shape, dtype) = (query.shape(), query.dtype().into());
    let [key, value] = [key, value].map(|x| B::float_cast(x, dtype));
    let weights = weighted::<B>(query, key).weights;
    let context = B::float_matmul(B::float_cast(weights, dtype), value);
    B::float_reshape(context, shape)
}

pub(in crate::ops) fn causal_attention_gradient<B: Backend>(
    query: FloatTensor<B>,
    key: FloatTensor<B>,
    value: FloatTensor<B>,
    grads: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (shape, dtype) = (query.shape(), query.dtype().into());
    let [_, key_heads, ..] = key.shape().dims::<4>();
    let [key_dtype, value_dtype] = [&key, &value].map(|x| x.dtype().into());
    let [key, value] = [key, value].map(|x| B::float_cast(x, dtype));
    let transposed = |x: FloatTensor<B>| B::float_swap_dims(x, 2, 3);
    let scale = scale::<B>(&query);
    let Weighted { query, weights } = weighted::<B>(query, key.clone());
    let grads = grouped::<B>(grads, key_heads);
    let weights_as_values = B::float_cast(weights.clone(), dtype);
    let of_value = B::float_matmul(transposed(weights_as_values), grads.clone());
    let of_weights = B::float_cast(B::float_matmul(grads, transposed(value)), FloatDType::F32);
    let mean = B::float_sum_dim(B::float_mul(of_weights.clone(), weights.clone()), 3);
    let of_scores = B::float_mul(weights, B::float_sub(of_weights, mean));
    let of_scores = B::float_cast(of_scores, dtype);
    let of_key = B::float_matmul(transposed(of_scores.clone()), query);
    let of_query = B::float_mul_scalar(B::float_matmul(of_scores, key), scale.into());
    (
        B::float_reshape(of_query, shape),
        B::float_cast(of_key, key_dtype),
        B::float_cast(of_value, value_dtype),
    )
}
