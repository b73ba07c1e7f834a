//! Steps that a [`BitLinear`](super::BitLinear) and packed layers share.

use burn::{
    module::Param,
    nn::RmsNorm,
    tensor::{Tensor, module::linear},
};

use crate::{
    functions::bit_linear,
    ops::Groups,
    qat::{ActivationFakeQuant, PackedParameter, PackedWeight},
};

/// Returns the packed weight of a parameter whose rows lie along `row_axis`.
pub(super) fn packed<const D: usize>(
    param: &Param<Tensor<D>>,
    row_axis: usize,
) -> Option<&PackedWeight> {
    let packed = param.reparameterization::<PackedParameter>()?;
    (packed.row_axis() == row_axis).then_some(packed.weight())
}

/// Computes `X W + b`. Not every backend multiplies by a matrix without values; [`bit_linear`] does, and
/// gives the same then.
pub(super) fn product<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    match x.shape().num_elements() {
        0 => {
            let groups = Groups::per_tensor(weight.shape().num_elements());
            bit_linear(x, weight, bias, groups, 8)
        }
        _ => linear(x, weight, bias),
    }
}

/// Computes the product of a layer with a packed weight; `bits` is set if training uses [`bit_linear`].
pub(super) fn packed_product<const D: usize>(
    x: Tensor<D>,
    weight: &PackedWeight,
    bias: Option<Tensor<1>>,
    input_quant: &Option<ActivationFakeQuant>,
    bits: Option<u8>,
) -> Tensor<D> {
    match (input_quant, bits) {
        (Some(quant), Some(bits)) => weight.linear(quant.observe(x), bias, bits),
        _ => {
            let x = quantized(x, input_quant);
            // In the type of the input, as a latent weight is cast to it.
            let weight = weight.unpack_as(x.dtype().into());
            product(x, weight.transpose(), bias)
        }
    }
}

/// Returns whether the input has no norm, rotation or other step that other programs do not support.
pub(super) fn is_plain(
    input_quant: &Option<ActivationFakeQuant>,
    rms_norm: &Option<RmsNorm>,
) -> bool {
    let unrotated = input_quant.as_ref().is_none_or(|quant| !quant.rotates());
    unrotated && rms_norm.is_none()
}

/// Applies the norm of a layer, if it has one: Burn's, whose rounding differs from the fused operation's.
pub(super) fn normalized<const D: usize>(x: Tensor<D>, rms_norm: &Option<RmsNorm>) -> Tensor<D> {
    match rms_norm {
        Some(norm) => norm.forward(x),
        None => x,
    }
}

/// Quantizes the input of a layer, if it has a quantizer.
pub(super) fn quantized<const D: usize>(
    x: Tensor<D>,
    input_quant: &Option<ActivationFakeQuant>,
) -> Tensor<D> {
    match input_quant {
        Some(input_quant) => input_quant.forward(x),
        None => x,
    }
}
