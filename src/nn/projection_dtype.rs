use burn::{nn::Linear, tensor::FloatDType};

use super::BitNetLm;
use crate::qat::cast_leaf;

impl BitNetLm<Linear> {
    /// Casts the weights of the projections to another float type; parameters keep their identifiers.
    ///
    /// The frozen base of an adapter takes half the memory in bf16, the type of most files, whose values it then has
    /// exactly. Activations keep their type: the weights are widened in parts; see
    /// [`frozen_linear`](crate::functions::frozen_linear).
    ///
    /// # Example
    ///
    /// ```
    /// use bitnet_burn::nn::{BitNetLm, BitNetLmConfig};
    /// use burn::{nn::Linear, tensor::{DType, Device, FloatDType, Int, Tensor}};
    ///
    /// let device = Device::default();
    /// let config = BitNetLmConfig::new(256, 64, 1, 2, 128).with_max_positions(16);
    /// let lm: BitNetLm<Linear> = config.init(&device);
    /// let lm = lm.with_projection_dtype(FloatDType::BF16);
    /// let logits = lm.forward(Tensor::<2, Int>::zeros([1, 4], &device));
    /// assert_eq!(logits.dtype(), DType::F32);
    /// ```
    #[must_use]
    pub fn with_projection_dtype(self, dtype: FloatDType) -> Self {
        self.map_projections(|_, mut linear| {
            linear.weight = linear.weight.map(|weight| cast_leaf(weight, dtype));
            linear
        })
    }
}
