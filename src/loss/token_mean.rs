use burn::tensor::{Bool, Tensor};

/// Returns the mean of one value per token over the tokens that are not padding; 0 if all are.
///
/// # Shapes
///
/// - values, mask_pad: `[tokens]`, true where a token is ignored
/// - output: `[1]`
pub(super) fn token_mean(values: Tensor<1>, mask_pad: Option<Tensor<1, Bool>>) -> Tensor<1> {
    let Some(mask_pad) = mask_pad else {
        return values.mean();
    };
    let count = mask_pad.clone().bool_not().int().sum().float();
    let count = count.cast(values.dtype()).clamp_min(1.0);
    values.mask_fill(mask_pad, 0.0).sum() / count
}

/// Flattens the mask of the tokens of a tensor with one more dimension.
///
/// # Panics
///
/// If the mask does not have the leading dimensions of the tensor.
#[track_caller]
pub(super) fn flat_mask<const M: usize>(
    mask_pad: Tensor<M, Bool>,
    dims: &[usize],
) -> Tensor<1, Bool> {
    let tokens = &dims[..dims.len() - 1];
    assert_eq!(
        mask_pad.dims().as_slice(),
        tokens,
        "mask_pad must have the dimensions of the tokens"
    );
    mask_pad.reshape([tokens.iter().product::<usize>()])
}
