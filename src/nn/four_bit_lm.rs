use burn::{
    module::Param,
    nn::Linear,
    tensor::{FloatDType, Tensor},
};

use super::{BitNetLm, Linear4bit};
use crate::quant::FourBitConfig;

impl BitNetLm<Linear> {
    /// Quantizes the projections to 4 bits, the base of QLoRA; see [`Linear4bit::from_linear`]. Embedding, norms
    /// and head stay in full precision.
    ///
    /// # Panics
    ///
    /// If the size of a block is out of its range, or a weight has an adapter or is quantized already.
    ///
    /// # Example
    ///
    /// ```
    /// use bitnet_burn::{nn::{BitNetLm, BitNetLmConfig}, quant::FourBitConfig};
    /// use burn::{nn::Linear, tensor::Device};
    ///
    /// let config = BitNetLmConfig::new(256, 64, 1, 2, 128).with_max_positions(16);
    /// let full_precision: BitNetLm<Linear> = config.init(&Device::default());
    /// let four_bit = full_precision.into_four_bit(&FourBitConfig::default());
    /// assert_eq!(four_bit.projections().count(), 7);
    /// ```
    #[track_caller]
    pub fn into_four_bit(self, config: &FourBitConfig) -> BitNetLm<Linear4bit> {
        self.map_projections(|_, linear| Linear4bit::from_linear(&linear, config))
    }
}

impl BitNetLm<Linear4bit> {
    /// Dequantizes the projections, to the type of the embedding table. Their weights are new parameters.
    pub fn dequantize(self) -> BitNetLm<Linear> {
        let embedding = self.model.embed_tokens.weight.val();
        let (dtype, is_autodiff) = (embedding.dtype(), embedding.is_autodiff());
        self.map_projections(|_, layer| {
            if layer.is_full_precision() {
                return layer.dequantize();
            }
            let weight: Tensor<2> = layer.weight.dequantize().transpose();
            let weight = weight.cast(FloatDType::from(dtype));
            Linear {
                weight: Param::from_tensor(match is_autodiff {
                    true => weight.autodiff(),
                    false => weight,
                }),
                bias: layer.bias,
            }
        })
    }
}
