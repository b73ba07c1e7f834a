use burn::backend::{Backend, Scalar, Shape, TensorMetadata, tensor::FloatTensor};

/// Returns `[.., n]` as a matrix `[tokens, n]`.
pub(in crate::ops) fn by_tokens<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let shape = x.shape();
    let n = shape[shape.num_dims() - 1];
    let tokens = shape.num_elements() / n.max(1);
    match shape.num_dims() {
        2 => x,
        _ => B::float_reshape(x, Shape::new([tokens, n])),
    }
}

/// Computes the product of two matrices, which may be empty: not every backend multiplies those.
pub(in crate::ops) fn product<B: Backend>(a: FloatTensor<B>, b: FloatTensor<B>) -> FloatTensor<B> {
    let empty = |tensor: &FloatTensor<B>| tensor.shape().num_elements() == 0;
    if empty(&a) || empty(&b) {
        let shape = Shape::new([a.shape()[0], b.shape()[1]]);
        return B::float_zeros(shape, &a.device(), a.dtype().into());
    }
    B::float_matmul(a, b)
}

/// Computes `X W`, with the values of `W` in the type of `x`.
pub(in crate::ops) fn linear<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
) -> FloatTensor<B> {
    let (mut shape, dtype) = (x.shape(), x.dtype());
    let weight = match weight.dtype() == dtype {
        true => weight,
        false => B::float_cast(weight, dtype.into()),
    };
    let last = shape.num_dims() - 1;
    shape[last] = weight.shape()[1];
    let y = product::<B>(by_tokens::<B>(x), weight);
    B::float_reshape(y, shape)
}

/// Computes `s X A`, `[tokens, rank]`.
pub(in crate::ops) fn low_rank_input<B: Backend>(
    x: FloatTensor<B>,
    a: FloatTensor<B>,
    scaling: f64,
) -> FloatTensor<B> {
    // The factor on the `rank` values of a token, which are fewer than its outputs.
    let hidden = B::float_matmul(by_tokens::<B>(x), a);
    match scaling {
        1.0 => hidden,
        _ => B::float_mul_scalar(hidden, Scalar::from(scaling)),
    }
}
