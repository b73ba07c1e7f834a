use burn::{module::Module, tensor::Tensor};

use super::precision::full_precision;

/// Oscillation dampening: `L = |Q(W) - clip(W, lowest, highest)|^2`, the *sum* of the squares of
/// all values.
///
/// `Q(W)` and the levels are constants. A weight between the lowest and highest quantisation
/// level is pulled to the level that it rounds to, with gradient `2 (W - Q(W))`, away from the
/// threshold at which training makes it jump to and fro; a weight beyond has gradient 0.
///
/// Summed, not averaged, as in the paper: a gradient does not depend on the size of the weight.
/// The paper multiplies it by a factor that grows from 0 during training.
///
/// Source: [Overcoming Oscillations in Quantization-Aware
/// Training](https://arxiv.org/abs/2203.11086).
///
/// # Example
///
/// ```
/// use bitnet_burn::{functions::ternary_fake_quant, loss::OscillationDampeningLoss, ops::Groups};
/// use burn::tensor::{Device, Tensor};
///
/// let weight = Tensor::<1>::from_floats([0.25, -1.75], &Device::default());
/// let (quantized, scales) = ternary_fake_quant(weight.clone(), Groups::per_tensor(2));
/// let highest = scales.reshape([1]);
/// let lowest = highest.clone().neg();
/// let loss = OscillationDampeningLoss::new().forward(weight, quantized, lowest, highest);
/// // Of 0.25, which rounds to 0; -1.75 is clipped to -1, its level.
/// assert_eq!(loss.into_scalar::<f32>(), 0.0625);
/// ```
#[derive(Module, Debug)]
pub struct OscillationDampeningLoss;

impl Default for OscillationDampeningLoss {
    fn default() -> Self {
        Self::new()
    }
}

impl OscillationDampeningLoss {
    /// Create the loss.
    pub fn new() -> Self {
        Self
    }

    /// The loss; 0 for a weight of no values.
    ///
    /// # Shapes
    ///
    /// - weight: `[..]`, the latent weight
    /// - quantized: `[..]`, its quantised value
    /// - lowest, highest: the lowest and highest level, each dimension that of the weight or 1
    /// - output: `[1]`, f32, or f64 for f64 inputs
    ///
    /// Gradients to all but the weight are cut here.
    ///
    /// # Panics
    ///
    /// If weight and quantised value are not of one shape, or the levels do not broadcast to it.
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
            "a weight and its quantised value have one shape"
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
