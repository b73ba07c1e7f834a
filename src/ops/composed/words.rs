//! Codes of some bits in words of `u32`, the first in the lowest bits.

use burn::backend::{Backend, IntDType, Shape, TensorData, TensorMetadata, tensor::IntTensor};

/// Returns `2^(bits i)` for the codes of a word, as 64-bit `[1, 1, codes]`.
fn weights<B: Backend>(bits: usize, device: &B::Device) -> IntTensor<B> {
    let codes = 32 / bits;
    let weights: Vec<i64> = (0..codes).map(|i| 1 << (bits * i)).collect();
    B::int_from_data(TensorData::new(weights, [1, 1, codes]), device)
}

/// Packs non-negative 64-bit codes `[rows, n]` into words `[rows, words]`, after `padding` to their number.
pub(super) fn packed<B: Backend>(
    codes: IntTensor<B>,
    bits: usize,
    words: usize,
    padding: i64,
) -> IntTensor<B> {
    let [rows, n] = codes.shape().dims();
    let device = codes.device();
    let codes_of_word = 32 / bits;
    let codes = match words * codes_of_word - n {
        0 => codes,
        rest => {
            let shape = Shape::new([rows, rest]);
            let rest = B::int_full(shape, padding.into(), &device, IntDType::I64);
            B::int_cat(vec![codes, rest], 1)
        }
    };
    let codes = B::int_reshape(codes, Shape::new([rows, words, codes_of_word]));
    let sum = B::int_sum_dim(B::int_mul(codes, weights::<B>(bits, &device)), 2);
    let sum = B::int_reshape(sum, Shape::new([rows, words]));
    B::int_cast(sum, IntDType::U32)
}

/// Unpacks the first `n` codes of each row of words, as 64-bit `[rows, n]`.
pub(super) fn unpacked<B: Backend>(
    words: IntTensor<B>,
    bits: usize,
    [rows, n]: [usize; 2],
) -> IntTensor<B> {
    let device = words.device();
    let row_words = words.shape().num_elements() / rows.max(1);
    let words = B::int_cast(words, IntDType::I64);
    let words = B::int_reshape(words, Shape::new([rows, row_words, 1]));
    let codes = B::int_div(words, weights::<B>(bits, &device));
    let codes = B::int_remainder_scalar(codes, (1i64 << bits).into());
    let codes = B::int_reshape(codes, Shape::new([rows, row_words * 32 / bits]));
    B::int_slice(codes, &[(0..rows).into(), (0..n).into()])
}
