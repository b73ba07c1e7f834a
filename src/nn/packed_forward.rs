use burn::{
    module::Param,
    nn::{
        Embedding, Linear,
        conv::{Conv1d, Conv2d},
    },
    tensor::{FloatDType, Int, Tensor, assert_shape},
};

use super::{
    BitLinear,
    projection::by_tokens,
    quantized_product::{normalized, packed, product, quantized},
};
use crate::qat::PackedWeight;

/// Forward pass of a layer from its packed weight, or that of the layer if it has none.
///
/// [`PackedModel::load_into`](crate::qat::PackedModel::load_into) attaches packed weights to layers. The
/// `forward` of such a layer unpacks its whole weight for the pass. `forward_packed` computes the same values
/// and unpacks a part at a time: the rows of the tokens of an `Embedding`, about a million values for the
/// outputs of a `Linear` or [`BitLinear`] and the channels of a convolution. (A [`BitLinear`] with the scheme of
/// BitNet b1.58 multiplies the packed codes as they are, also in `forward`.)
///
/// # Example
///
/// ```
/// use bitnet_burn::nn::PackedForward;
/// use burn::{nn::EmbeddingConfig, tensor::{Device, Int, Tensor}};
///
/// let device = Device::default();
/// let embedding = EmbeddingConfig::new(10, 4).init(&device);
/// let tokens = Tensor::<2, Int>::from_ints([[1, 2, 1]], &device);
/// let y: Tensor<3> = embedding.forward_packed(tokens);
/// assert_eq!(y.dims(), [1, 3, 4]);
/// ```
pub trait PackedForward<X> {
    /// Output of the layer.
    type Output;

    /// Applies the layer, with the shapes and panics of its `forward`.
    fn forward_packed(&self, x: X) -> Self::Output;
}

/// Returns the parts of a weight that are unpacked at a time, each with its part of the bias.
fn parts(
    weight: &PackedWeight,
    bias: &Option<Param<Tensor<1>>>,
    dtype: FloatDType,
) -> impl Iterator<Item = (Tensor<2>, Option<Tensor<1>>)> {
    weight.parts().map(move |rows| {
        let bias = bias.as_ref().map(|bias| bias.val().slice([rows.clone()]));
        (weight.unpack_rows(rows, dtype), bias)
    })
}

impl<const D: usize> PackedForward<Tensor<D>> for Linear {
    type Output = Tensor<D>;

    fn forward_packed(&self, x: Tensor<D>) -> Tensor<D> {
        let Some(weight) = packed(&self.weight, 1).filter(|weight| weight.parts().len() > 1) else {
            return self.forward(x);
        };
        by_tokens(x, |x| {
            let outputs = parts(weight, &self.bias, weight.dtype()).map(|(weight, bias)| {
                let weight = Param::initialized(self.weight.id, weight.transpose());
                let bias = bias.map(|bias| Param::initialized(self.weight.id, bias));
                Linear { weight, bias }.forward(x.clone())
            });
            Tensor::cat(outputs.collect(), 1)
        })
    }
}

impl<const D: usize> PackedForward<Tensor<D>> for BitLinear {
    type Output = Tensor<D>;

    #[track_caller]
    fn forward_packed(&self, x: Tensor<D>) -> Tensor<D> {
        let weight = self.packed().filter(|_| self.fused().is_none());
        let Some(weight) = weight.filter(|weight| weight.parts().len() > 1) else {
            return self.forward(x);
        };
        let [_, d_input] = weight.dims();
        assert_shape!(x, [.., d_input]);
        let x = quantized(normalized(x, &self.rms_norm), &self.input_quant);
        by_tokens(x, |x| {
            let dtype = x.dtype().into();
            let outputs = parts(weight, &self.bias, dtype)
                .map(|(weight, bias)| product(x.clone(), weight.transpose(), bias));
            Tensor::cat(outputs.collect(), 1)
        })
    }
}

impl PackedForward<Tensor<2, Int>> for Embedding {
    type Output = Tensor<3>;

    fn forward_packed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let Some(weight) = packed(&self.weight, 0) else {
            return self.forward(tokens);
        };
        let [batch, positions] = tokens.dims();
        let [_, d_model] = weight.dims();
        let rows = weight.select_rows(tokens.reshape([batch * positions]));
        rows.reshape([batch, positions, d_model])
    }
}

/// Applies a convolution with some of its output channels at a time.
macro_rules! packed_convolution {
    ($layer:ident, $rank:literal) => {
        impl PackedForward<Tensor<$rank>> for $layer {
            type Output = Tensor<$rank>;

            fn forward_packed(&self, x: Tensor<$rank>) -> Tensor<$rank> {
                let weight = packed(&self.weight, 0).filter(|weight| weight.parts().len() > 1);
                // With groups, the channels have different inputs.
                let Some(weight) = weight.filter(|_| self.groups == 1) else {
                    return self.forward(x);
                };
                let outputs = parts(weight, &self.bias, weight.dtype()).map(|(rows, bias)| {
                    let mut shape = self.weight.dims();
                    shape[0] = rows.dims()[0];
                    let mut part = self.clone();
                    part.weight = Param::initialized(self.weight.id, rows.reshape(shape));
                    part.bias = bias.map(|bias| Param::initialized(self.weight.id, bias));
                    part.forward(x.clone())
                });
                Tensor::cat(outputs.collect(), 1)
            }
        }
    };
}

packed_convolution!(Conv1d, 3);
packed_convolution!(Conv2d, 4);
