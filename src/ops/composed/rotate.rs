//! Rotation of pairs as Burn operations.

use burn::backend::{Backend, Shape, Slice, TensorMetadata, tensor::FloatTensor};

pub(in crate::ops) fn rotate<B: Backend>(
    x: FloatTensor<B>,
    cos: FloatTensor<B>,
    sin: FloatTensor<B>,
    back: bool,
) -> FloatTensor<B> {
    let [batch, heads, positions, d_head] = x.shape().dims();
    let half = d_head / 2;
    let dtype = x.dtype().into();
    let table = |table: FloatTensor<B>| {
        B::float_reshape(
            B::float_cast(table, dtype),
            Shape::new([1, 1, positions, half]),
        )
    };
    let cos = table(cos);
    let sin = table(if back { B::float_neg(sin) } else { sin });
    let part = |from: usize| {
        let slices: [Slice; 4] = [
            (0..batch).into(),
            (0..heads).into(),
            (0..positions).into(),
            (from..from + half).into(),
        ];
        B::float_slice(x.clone(), &slices)
    };
    let (a, b) = (part(0), part(half));
    let turned_a = B::float_sub(
        B::float_mul(a.clone(), cos.clone()),
        B::float_mul(b.clone(), sin.clone()),
    );
    let turned_b = B::float_add(B::float_mul(b, cos), B::float_mul(a, sin));
    B::float_cat(vec![turned_a, turned_b], 3)
}
