use burn::tensor::Tensor;

use super::precision::full_precision;

/// Oscillation dampening: `L = |Q(W) - clip(W, lowest, highest)|^2`, the *sum* of the squares of
/// all values.
///
/// `Q(W)` and the levels are constants. A weight between the lowest and the highest quantization
/// level is pulled to the level that it rounds to, with gradient `2 (W - Q(W))`, away from the
/// threshold at which it oscillates during training. A weight beyond the levels has gradient 0.
///
/// Summed, not averaged, as in the paper: a gradient does not depend on the number of values. The
/// paper multiplies the loss by a factor that grows from 0 during training.
///
/// Source: [Overcoming Oscillations in Quantization-Aware
/// Training](https://arxiv.org/abs/2203.11086).
///
/// # Example
///
/// ```
/// use bitnet_burn::{functions::{Groups, ternary_fake_quant}, loss::OscillationDampeningLoss};
/// use burn::tensor::{Device, Tensor};
///
/// let weight = Tensor::<1>::from_floats([0.25, -1.75], &Device::default());
/// let (quantized, scales) = ternary_fake_quant(weight.clone(), Groups::per_tensor(2));
/// let highest = scales.reshape([1]);
/// let lowest = highest.clone().neg();
/// let loss = OscillationDampeningLoss::new().forward(weight, quantized, lowest, highest);
/// // The loss of 0.25, which rounds to 0; -1.75 is clipped to -1, its level.
/// assert_eq!(loss.into_scalar::<f32>(), 0.0625);
/// ```
#[derive(Debug, Clone, Default)]
pub struct OscillationDampeningLoss;

impl OscillationDampeningLoss {
    /// Creates the loss.
    pub fn new() -> Self {
        Self
    }

    /// Computes the loss; 0 for a weight without values.
    ///
    /// # Shapes
    ///
    /// - weight: `[..]`, the latent weight
    /// - quantized: `[..]`, its quantized value
    /// - lowest, highest: the lowest and highest level, each dimension that of the weight or 1
    /// - output: `[1]`, f32, or f64 for f64 inputs
    ///
    /// All inputs but the weight are detached here.
    ///
    /// # Panics
    ///
    /// If weight and quantized value differ in shape, or the levels do not broadcast to it.
    #[track_caller]
    pub fn forward<const D: usize>(
        &self,
        weight: Tensor<D>,
        quantized: Tensor<D>,
        lowest: Tensor<D>,
        highest: Tensor<D>,
    ) -> Tensor<1> {
        let shape = weight.dims();
        assert_eq!(
            shape,
            quantized.dims(),
            "a weight and its quantized value have one shape"
        );
        for levels in [lowest.dims(), highest.dims()] {
            let fits = |(level, size): (&usize, &usize)| level == size || *level == 1;
            assert!(
                levels.iter().zip(&shape).all(fits),
                "levels of shape {levels:?} do not broadcast to a weight of shape {shape:?}"
            );
        }
        if weight.shape().num_elements() == 0 {
            // Burn does not expand to a dimension of size 0.
            return full_precision(weight).sum();
        }
        let constant = |tensor: Tensor<D>| full_precision(tensor.detach()).expand(shape);
        let clipped = full_precision(weight)
            .max_pair(constant(lowest))
            .min_pair(constant(highest));
        (clipped - constant(quantized)).square().sum()
    }
}
