use burn::{backend::Dispatch, tensor::Tensor};

use super::operand::{assert_float, assert_per_group};
use crate::ops::{AffineLevels, GradientRule, Groups, QatOps, QuantRange};

/// Evenly spaced levels `(code - zero_point) * scale` of a quantized tensor, one for each code of a range.
///
/// # Shapes
///
/// - scales, zero_points: `[outer, inner]` of `groups`, f32
#[derive(Debug, Clone)]
pub struct AffineParams {
    /// Distance between neighboring levels.
    pub scales: Tensor<2>,
    /// Code of the value 0.
    pub zero_points: Tensor<2>,
    /// Groups of values that share a scale.
    pub groups: Groups,
    /// The range of codes.
    pub codes: QuantRange,
}

impl AffineParams {
    /// Creates levels around zero, `code * scale`.
    pub fn symmetric(scales: Tensor<2>, groups: Groups, codes: QuantRange) -> Self {
        let zero_points = scales.zeros_like();
        Self {
            scales,
            zero_points,
            groups,
            codes,
        }
    }

    /// Returns the levels for an operation on `x`.
    #[track_caller]
    fn levels_for<const D: usize>(self, operation: &str, x: &Tensor<D>) -> AffineLevels<Dispatch> {
        assert_float(operation, x);
        self.groups.assert_cover(&x.dims());
        assert_per_group("scales", &self.scales, self.groups);
        assert_per_group("zero points", &self.zero_points, self.groups);
        AffineLevels {
            scales: self.scales.into_dispatch(),
            zero_points: self.zero_points.into_dispatch(),
            groups: self.groups,
            codes: self.codes,
        }
    }
}

/// Applies fake quantization to given levels:
/// `Q(x) = (clamp(round(x / scale + zero_point), min, max) - zero_point) * scale`, ties to even.
///
/// The gradient passes to `x` unchanged; [`straight_through`] sets another one. Scales and zero points
/// are constants; [`learned_step_fake_quant`] trains them.
///
/// Source: [Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
/// Inference](https://arxiv.org/abs/1712.05877).
///
/// # Shapes
///
/// - x, output: `[..]`, f32, f16 or bf16
///
/// # Panics
///
/// If the levels do not fit `x`.
///
/// # Example
///
/// ```
/// use bitnet_burn::functions::{AffineParams, Groups, QuantRange, affine_fake_quant};
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::default();
/// let x = Tensor::<1>::from_floats([0.6, -0.2, 9.0], &device);
/// let scales = Tensor::full([1, 1], 0.5, &device);
/// let levels = AffineParams::symmetric(scales, Groups::per_tensor(3), QuantRange::signed(4));
/// let quantized = affine_fake_quant(x, levels);
/// assert_eq!(quantized.into_data().to_vec::<f32>().unwrap(), [0.5, 0.0, 3.5]);
/// ```
#[track_caller]
pub fn affine_fake_quant<const D: usize>(x: Tensor<D>, levels: AffineParams) -> Tensor<D> {
    let levels = levels.levels_for("affine_fake_quant", &x);
    Tensor::from_dispatch(Dispatch::affine_fake_quant(x.into_dispatch(), levels))
}

/// Returns `quantized` as a function of `x`: its value is `quantized` bit for bit, its gradient that of
/// a [`GradientRule`] for the levels, or of the identity without a rule.
///
/// Turns any quantizer into a straight-through estimator. `quantized` is a constant.
///
/// # Shapes
///
/// - x, quantized, output: `[..]`, f32, f16 or bf16
///
/// # Panics
///
/// If the shapes or types of `x` and `quantized` differ, or the levels do not fit them.
///
/// # Example
///
/// ```
/// use bitnet_burn::functions::{AffineParams, GradientRule, Groups, QuantRange, straight_through};
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::default().autodiff();
/// let x = Tensor::<1>::from_floats([0.4, 3.0], &device).require_grad();
/// let sign = x.clone().detach().sign();
/// let levels = AffineParams::symmetric(Tensor::ones([1, 1], &device), Groups::per_tensor(2), QuantRange::TERNARY);
/// let clipped = Some(GradientRule::Clipped { bound: 1.0 });
/// let grads = straight_through(x.clone(), sign, levels, clipped).sum().backward();
/// assert_eq!(x.grad(&grads).unwrap().into_data().to_vec::<f32>().unwrap(), [1.0, 0.0]);
/// ```
#[track_caller]
pub fn straight_through<const D: usize>(
    x: Tensor<D>,
    quantized: Tensor<D>,
    levels: AffineParams,
    rule: Option<GradientRule>,
) -> Tensor<D> {
    let levels = levels.levels_for("straight_through", &x);
    assert_eq!(
        (x.dims(), x.dtype()),
        (quantized.dims(), quantized.dtype()),
        "a quantized tensor has the shape and type of the values"
    );
    Tensor::from_dispatch(Dispatch::straight_through(
        x.into_dispatch(),
        quantized.into_dispatch(),
        levels,
        rule,
    ))
}

/// Applies fake quantization with trained scales and offsets, LSQ and LSQ+:
/// `Q(x) = (clamp(round(v), min, max) - z) * scale` with `z = -offset / scale` and `v = x / scale + z`.
///
/// Gradients, with `g = dL/dQ`:
/// - `dL/dx = g` where `min <= v <= max`, else 0
/// - `dL/dscale = grad_scale * sum g * (round(v) - v)` where `min <= v <= max`, else `min` or `max`
///   in place of the bracket
/// - `dL/doffset = grad_scale * sum g` over `v < min` and `v > max`
///
/// LSQ sets `grad_scale = 1 / sqrt(n * max)` for a scale that `n` values share. A constant offset of 0
/// gives LSQ.
///
/// Sources: [Learned Step Size Quantization](https://arxiv.org/abs/1902.08153),
/// [LSQ+](https://arxiv.org/abs/2004.09576).
///
/// # Shapes
///
/// - x, output: `[..]`, f32, f16 or bf16
/// - scales, offsets: `[outer, inner]` of `groups`, f32
///
/// # Panics
///
/// If `groups` does not cover `x`, or scales or offsets have another shape or type.
#[track_caller]
pub fn learned_step_fake_quant<const D: usize>(
    x: Tensor<D>,
    scales: Tensor<2>,
    offsets: Tensor<2>,
    groups: Groups,
    codes: QuantRange,
    grad_scale: f32,
) -> Tensor<D> {
    assert_float("learned_step_fake_quant", &x);
    groups.assert_cover(&x.dims());
    assert_per_group("scales", &scales, groups);
    assert_per_group("offsets", &offsets, groups);
    Tensor::from_dispatch(Dispatch::learned_step_fake_quant(
        x.into_dispatch(),
        scales.into_dispatch(),
        offsets.into_dispatch(),
        groups,
        codes,
        grad_scale,
    ))
}
