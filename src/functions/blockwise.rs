use burn::{
    backend::Dispatch,
    tensor::{DType, Int, Tensor},
};

use crate::ops::{AdamWStep, BLOCK, BlockwiseCodes, DynamicMap, QatOps};

/// Quantizes block-wise, as bitsandbytes does: each block of 256 values, flat, is divided by its
/// absolute maximum and rounded to the nearest values of the map. No gradient.
///
/// All-zero blocks have the absolute maximum 0 and codes 0. A NaN or infinity makes its block
/// non-finite.
///
/// # Shapes
///
/// - values: any, f32
/// - codes: `[ceil(n / 4)]`, u32: four to a word, the first in the lowest bits, zeros at the end
/// - absmax: `[ceil(n / 256)]`, f32
///
/// # Panics
///
/// If the values are not f32.
///
/// Source: [8-bit Optimizers via Block-wise Quantization](https://arxiv.org/abs/2110.02861).
///
/// # Example
///
/// ```
/// use bitnet_burn::functions::{DynamicMap, blockwise_dequantize, blockwise_quantize};
/// use burn::tensor::{Device, Tensor};
///
/// let x = Tensor::<1>::from_floats([4.0, 0.0, -0.4], &Device::default());
/// let (codes, absmax) = blockwise_quantize(x, DynamicMap::Signed);
/// let x = blockwise_dequantize(codes, absmax, DynamicMap::Signed, 3);
/// // The map has steps of 0.0014 below a tenth of the maximum.
/// let error = (x - Tensor::from_floats([4.0, 0.0, -0.4], &Device::default())).abs();
/// assert!(error.max().into_scalar::<f32>() < 4.0 * 0.0142 / 2.0);
/// ```
#[track_caller]
pub fn blockwise_quantize<const D: usize>(
    values: Tensor<D>,
    map: DynamicMap,
) -> (Tensor<1, Int>, Tensor<1>) {
    let dtype = values.dtype();
    assert!(
        dtype == DType::F32,
        "block-wise quantization takes f32 values, got {dtype:?}"
    );
    let n = values.shape().num_elements();
    if n == 0 {
        let device = values.device();
        let codes = Tensor::zeros([0], (&device, DType::U32));
        return (codes, Tensor::zeros([0], &device));
    }
    let values = values.reshape([n]).into_dispatch();
    let BlockwiseMoment { codes, absmax } = Dispatch::blockwise_quantize(values, map).into();
    (codes, absmax)
}

/// Computes `map[code] * absmax` of `n` values, the inverse of [`blockwise_quantize`].
///
/// # Shapes
///
/// - codes: `[ceil(n / 4)]`, u32
/// - absmax: `[ceil(n / 256)]`, f32
/// - output: `[n]`, f32
///
/// # Panics
///
/// If codes and maxima are not those of `n` values.
#[track_caller]
pub fn blockwise_dequantize(
    codes: Tensor<1, Int>,
    absmax: Tensor<1>,
    map: DynamicMap,
    n: usize,
) -> Tensor<1> {
    let codes = BlockwiseMoment { codes, absmax };
    codes.assert_values(n);
    if n == 0 {
        return Tensor::zeros([0], &codes.absmax.device());
    }
    Tensor::from_dispatch(Dispatch::blockwise_dequantize(codes.into(), map, n))
}

/// A moment of AdamW, quantized block-wise.
#[derive(Debug, Clone)]
pub struct BlockwiseMoment {
    /// Codes, `[ceil(n / 4)]` words of u32.
    pub codes: Tensor<1, Int>,
    /// Absolute maximum of each block, `[ceil(n / 256)]`.
    pub absmax: Tensor<1>,
}

impl BlockwiseMoment {
    /// Panics unless it has the codes and maxima of `n` values.
    #[track_caller]
    fn assert_values(&self, n: usize) {
        let expected = [n.div_ceil(4), n.div_ceil(BLOCK)];
        let found = [self.codes.dims()[0], self.absmax.dims()[0]];
        assert!(
            found == expected && self.codes.dtype() == DType::U32,
            "{n} values have {expected:?} words of u32 and blocks, got {found:?} of {:?}",
            self.codes.dtype()
        );
    }
}

impl From<BlockwiseMoment> for BlockwiseCodes<Dispatch> {
    fn from(moment: BlockwiseMoment) -> Self {
        Self {
            words: moment.codes.into_dispatch(),
            absmax: moment.absmax.into_dispatch(),
        }
    }
}

impl From<BlockwiseCodes<Dispatch>> for BlockwiseMoment {
    fn from(codes: BlockwiseCodes<Dispatch>) -> Self {
        Self {
            codes: Tensor::from_dispatch(codes.words),
            absmax: Tensor::from_dispatch(codes.absmax),
        }
    }
}

/// Applies a step of AdamW with block-wise quantized moments, the first with the signed and the second
/// with the unsigned map, in bitsandbytes' order of operations:
///
/// ```text
/// m = beta_1 m + (1 - beta_1) g
/// v = beta_2 v + (1 - beta_2) g^2
/// p = (1 - lr weight_decay) p - step_size m / (sqrt(v) / bias_correction_2 + epsilon)
/// ```
///
/// Computed in f32 for any type of parameter and gradient; the parameter keeps its type.
///
/// # Shapes
///
/// - param, grad: any, with the same shape; f32, f16 or bf16
/// - moments: those of `n` values, as returned by [`blockwise_quantize`]
///
/// # Panics
///
/// If the moments are not those of the parameter, or the gradient has another shape.
#[track_caller]
pub fn adamw_8bit<const D: usize>(
    param: Tensor<D>,
    grad: Tensor<D>,
    moments: [BlockwiseMoment; 2],
    step: AdamWStep,
) -> (Tensor<D>, [BlockwiseMoment; 2]) {
    assert!(
        param.dims() == grad.dims(),
        "a parameter of shape {:?} has no gradient of shape {:?}",
        param.dims(),
        grad.dims()
    );
    let n = param.shape().num_elements();
    for moment in &moments {
        moment.assert_values(n);
    }
    if n == 0 {
        return (param, moments);
    }
    let [moment_1, moment_2] = moments.map(BlockwiseCodes::from);
    let (param, grad) = (param.into_dispatch(), grad.into_dispatch());
    let (param, moment_1, moment_2) = Dispatch::adamw_8bit(param, grad, moment_1, moment_2, step);
    let moments = [moment_1, moment_2].map(BlockwiseMoment::from);
    (Tensor::from_dispatch(param), moments)
}
