use burn::{
    module::{Module, Param, ParamId},
    tensor::{DType, FloatDType, Int, Tensor, TensorReadError},
};

use super::tagged::Tagged;
use crate::{
    base::bounds::assert_valid,
    functions::{
        FourBitAbsmax, FourBitTensor, four_bit_dequantize, four_bit_linear, four_bit_quantize,
    },
    ops::FourBitFormat,
    quant::FourBitConfig,
};

/// A frozen weight of 4 bits per value, with the bytes of bitsandbytes.
///
/// Its matrix is `[d_output, d_input]`, as in PyTorch. It has no gradient and is not trained. Records also
/// hold shape and format, and can only be loaded into a weight with the same.
///
/// # Shapes
///
/// With `n = d_output * d_input` values in blocks of `block_size`:
///
/// - codes: `[ceil(n / 8)]`, u32 words, in the layout of [`FourBitFormat`]
/// - absmax: `[blocks]`, f32; with double quantization `[ceil(blocks / 256)]`
/// - absmax_codes: `[ceil(blocks / 4)]`, u32 words, with double quantization
/// - absmax_offset: `[1]`, f32, with double quantization
#[derive(Module, Debug)]
pub struct PackedFourBit {
    /// Words of codes.
    pub codes: Param<Tensor<1, Int>>,
    /// Absolute maxima of the blocks, or those of their codes.
    pub absmax: Param<Tensor<1>>,
    /// Codes of the absolute maxima.
    pub absmax_codes: Option<Param<Tensor<1, Int>>>,
    /// Mean of the absolute maxima, which their codes are relative to.
    pub absmax_offset: Option<Param<Tensor<1>>>,
    /// The other fields as a tag in records, so that one of another layout is not loaded.
    layout: Tagged<()>,
    d_output: usize,
    d_input: usize,
    #[module(skip)]
    config: FourBitConfig,
    #[module(skip)]
    dtype: FloatDType,
}

impl PackedFourBit {
    /// Quantizes a matrix `[d_output, d_input]`, the transpose of a weight of Burn.
    ///
    /// # Panics
    ///
    /// If the size of a block is out of its range, or the values are not f32, f16 or bf16.
    #[track_caller]
    pub fn from_matrix(matrix: Tensor<2>, config: &FourBitConfig) -> Self {
        assert_valid(config.validate());
        let dtype = matrix.dtype().into();
        let quantized = four_bit_quantize(matrix.detach(), config.format());
        match config.double_quant {
            true => Self::from_quantized(quantized.double_quantized(), dtype),
            false => Self::from_quantized(quantized, dtype),
        }
    }

    /// Creates a weight that was quantized elsewhere; `dtype` is the type of its values.
    pub fn from_quantized(quantized: FourBitTensor<2>, dtype: FloatDType) -> Self {
        let FourBitTensor {
            codes,
            absmax,
            format,
            shape: [d_output, d_input],
        } = quantized;
        let (absmax, absmax_codes, absmax_offset) = match absmax {
            FourBitAbsmax::Plain(absmax) => (absmax, None, None),
            FourBitAbsmax::DoubleQuantized {
                codes,
                absmax,
                offset,
            } => (absmax, Some(codes), Some(offset)),
        };
        let config = FourBitConfig {
            quant_type: format.quant_type,
            block_size: format.block_size,
            double_quant: absmax_codes.is_some(),
        };
        let layout = format!("{d_output} x {d_input}, {config}, {dtype:?}");
        let placeholder = Tensor::from_data([0], &codes.device());
        let placeholder = Param::initialized(ParamId::new(), placeholder);
        let integers = |codes| Param::initialized(ParamId::new(), codes);
        let floats = |values| Param::initialized(ParamId::new(), values);
        Self {
            codes: integers(codes),
            absmax: floats(absmax),
            absmax_codes: absmax_codes.map(integers),
            absmax_offset: absmax_offset.map(floats),
            layout: Tagged::new(&layout, placeholder, ()),
            d_output,
            d_input,
            config,
            dtype,
        }
    }

    /// Returns codes and absolute maxima.
    pub fn quantized(&self) -> FourBitTensor<2> {
        let absmax = self.absmax.val();
        let absmax = match (&self.absmax_codes, &self.absmax_offset) {
            (Some(codes), Some(offset)) => FourBitAbsmax::DoubleQuantized {
                codes: codes.val(),
                absmax,
                offset: offset.val(),
            },
            _ => FourBitAbsmax::Plain(absmax),
        };
        FourBitTensor {
            codes: self.codes.val(),
            absmax,
            format: self.config.format(),
            shape: self.dims(),
        }
    }

    /// Returns the numbers of output and input features.
    pub fn dims(&self) -> [usize; 2] {
        [self.d_output, self.d_input]
    }

    /// Returns the configuration that it was quantized with.
    pub fn config(&self) -> &FourBitConfig {
        &self.config
    }

    /// Returns the type of the values.
    pub fn dtype(&self) -> FloatDType {
        self.dtype
    }

    /// Returns the matrix `[d_output, d_input]` of `value(code) * absmax`.
    pub fn dequantize(&self) -> Tensor<2> {
        four_bit_dequantize(&self.quantized(), self.dtype)
    }

    /// Computes `X W^T + b`: see [`four_bit_linear`].
    ///
    /// # Shapes
    ///
    /// - x: `[.., d_input]`
    /// - output: `[.., d_output]`
    ///
    /// # Panics
    ///
    /// If the last dimension of `x` is not `d_input`, or the bias does not fit.
    #[track_caller]
    pub fn linear<const D: usize>(&self, x: Tensor<D>, bias: Option<Tensor<1>>) -> Tensor<D> {
        four_bit_linear(x, &self.quantized(), bias)
    }

    /// Returns the bytes of the codes, those of bitsandbytes: two codes to a byte, the first in its upper
    /// bits.
    ///
    /// # Errors
    ///
    /// If they cannot be read back from the device.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TensorReadError> {
        let words = self.codes.val().try_into_data_dtype(DType::U32)?;
        let words = words.try_to_vec::<u32>()?;
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        bytes.truncate(FourBitFormat::num_bytes(self.d_output * self.d_input));
        Ok(bytes)
    }

    /// Returns the bytes of codes and absolute maxima.
    pub fn num_bytes(&self) -> usize {
        let absmax_codes = self.absmax_codes.as_ref().map(|codes| codes.shape());
        let absmax_offset = self.absmax_offset.as_ref().map(|offset| offset.shape());
        let shapes = [self.codes.shape(), self.absmax.shape()].into_iter();
        let shapes = shapes.chain(absmax_codes).chain(absmax_offset);
        4 * shapes.map(|shape| shape.num_elements()).sum::<usize>()
    }

    /// Returns the bits per value of this weight: 4.127 for a large one with the default configuration, 4.5
    /// without double quantization; NaN without values.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.num_bytes() as f64 / (self.d_output * self.d_input) as f64
    }
}
