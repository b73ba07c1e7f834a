use burn::{
    backend::{Dispatch, FloatDType, Shape},
    tensor::{DType, Int, Tensor},
};

use super::{FourBitAbsmax, operand::assert_float};
use crate::ops::{FourBitFormat, FourBitOps};

/// A tensor in 4 bits per value: the bytes of bitsandbytes, in its order.
///
/// Made by [`four_bit_quantize`]; [`four_bit_dequantize`] and [`four_bit_linear`](super::four_bit_linear)
/// compute with it.
#[derive(Debug, Clone)]
pub struct FourBitTensor<const D: usize> {
    /// Words of codes, `[ceil(n / 8)]`, u32, in the layout of [`FourBitFormat`].
    pub codes: Tensor<1, Int>,
    /// Absolute maximum of each block.
    pub absmax: FourBitAbsmax,
    /// Codes and size of a block.
    pub format: FourBitFormat,
    /// Shape of the values.
    pub shape: [usize; D],
}

impl<const D: usize> FourBitTensor<D> {
    /// Returns the number of values.
    pub fn num_values(&self) -> usize {
        self.shape.iter().product()
    }

    /// Quantizes the absolute maxima, too: see [`FourBitAbsmax::double_quantized`].
    #[must_use]
    pub fn double_quantized(mut self) -> Self {
        self.absmax = self.absmax.double_quantized();
        self
    }

    /// Panics unless codes and absolute maxima are those of the shape.
    #[track_caller]
    pub(super) fn assert_fits(&self) {
        assert_format(self.format);
        let n = self.num_values();
        let words = FourBitFormat::num_words(n);
        assert!(
            self.codes.dims() == [words] && self.codes.dtype() == DType::U32,
            "{n} codes of 4 bits are {words} words of u32, got {:?} of {:?}",
            self.codes.dims(),
            self.codes.dtype()
        );
        self.absmax.assert_blocks(self.format.num_blocks(n));
    }
}

/// Quantizes to 4 bits, bit for bit as bitsandbytes' `quantize_4bit`: each block of neighboring values,
/// row-major over the whole tensor, is divided by its absolute maximum and rounded to the nearest values of
/// the codes, the lower one of two equally near. No gradient.
///
/// ```text
/// absmax = max |w| of the block
/// code   = nearest(w / absmax)
/// ```
///
/// Blocks may cross rows; the last one may be shorter. PyTorch's weights are `[d_output, d_input]`: a weight
/// of Burn is transposed before it is quantized. All-zero blocks have codes of 0. A NaN or infinity makes its
/// block non-finite.
///
/// Source: [QLoRA](https://arxiv.org/abs/2305.14314), section 3.
///
/// # Shapes
///
/// - values: any, f32, f16 or bf16
/// - codes: `[ceil(n / 8)]`, u32
/// - absmax: `[ceil(n / block_size)]`, f32
///
/// # Panics
///
/// If the type is not f32, f16 or bf16, or the block size is not a power of two from 32 to 4096.
///
/// # Example
///
/// ```
/// use bitnet_burn::{functions::{FourBitFormat, four_bit_dequantize, four_bit_quantize}, quant::FourBitType};
/// use burn::tensor::{Device, FloatDType, Tensor};
///
/// let format = FourBitFormat { quant_type: FourBitType::Nf4, block_size: 64 };
/// let w = Tensor::<2>::from_floats([[2.0, -2.0], [0.1, 0.9]], &Device::default());
/// let quantized = four_bit_quantize(w, format);
/// assert_eq!(quantized.codes.dims(), [1]);
/// let w = four_bit_dequantize(&quantized, FloatDType::F32);
/// let expected = [2.0, -2.0, 2.0 * 0.0795803, 2.0 * 0.44070983];
/// assert_eq!(w.into_data().to_vec::<f32>().unwrap(), expected);
/// ```
#[track_caller]
pub fn four_bit_quantize<const D: usize>(
    values: Tensor<D>,
    format: FourBitFormat,
) -> FourBitTensor<D> {
    assert_float("four_bit_quantize", &values);
    assert_format(format);
    let shape = values.dims();
    let (codes, absmax) = if shape.contains(&0) {
        let device = values.device();
        let codes = Tensor::zeros([0], (&device, DType::U32));
        (codes, Tensor::zeros([0], (&device, DType::F32)))
    } else {
        let (codes, absmax) = Dispatch::four_bit_quantize(values.into_dispatch(), format);
        (Tensor::from_dispatch(codes), Tensor::from_dispatch(absmax))
    };
    FourBitTensor {
        codes,
        absmax: FourBitAbsmax::Plain(absmax),
        format,
        shape,
    }
}

/// Computes `value(code) * absmax`, the inverse of [`four_bit_quantize`], rounded to a type. No gradient.
///
/// # Shapes
///
/// - output: the shape of the tensor, of type `dtype`
///
/// # Panics
///
/// If the number of codes or absolute maxima does not match the shape.
#[track_caller]
pub fn four_bit_dequantize<const D: usize>(
    tensor: &FourBitTensor<D>,
    dtype: FloatDType,
) -> Tensor<D> {
    tensor.assert_fits();
    let n = tensor.num_values();
    if n == 0 {
        let device = tensor.codes.device();
        return Tensor::zeros(tensor.shape, (&device, DType::from(dtype)));
    }
    let absmax = tensor.absmax.values(tensor.format.num_blocks(n));
    Tensor::from_dispatch(Dispatch::four_bit_dequantize(
        tensor.codes.clone().into_dispatch(),
        absmax.into_dispatch(),
        tensor.format,
        Shape::from(tensor.shape),
        dtype,
    ))
}

#[track_caller]
fn assert_format(format: FourBitFormat) {
    assert!(
        FourBitFormat::has_block_size(format.block_size),
        "a block of 4-bit codes is a power of two from 32 to 4096, got {}",
        format.block_size
    );
}
