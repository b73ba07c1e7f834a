use std::ops::Range;

use burn::{
    module::{Module, Param, ParamId},
    tensor::{DType, Device, FloatDType, Int, Tensor, TensorData, TensorReadError, assert_shape},
};

use super::tagged::Tagged;
use crate::{
    functions::{packed_linear, ternary_unpack},
    ops::{
        Groups,
        packing::{BITS_PER_CODE, CODES_PER_WORD, ZERO_WORD, words_per_row},
    },
    quant::{QuantizedWeight, WeightQuantizer},
};

/// Number of values of a packed weight that are unpacked at a time.
const UNPACKED: usize = 1 << 20;

/// A packed weight: 2 bits per value and its scales.
///
/// Stored as a matrix `[d_output, d_input]` with the codes of an output channel side by side, so that a row
/// can be multiplied with an activation without reading the others. Bit layout:
/// [`packing`](bitnet_burn_kernels::packing). Records also hold the layout, and can only be loaded into a
/// packed weight of the same layout.
///
/// # Shapes
///
/// - codes: `[d_output, ceil(d_input / 16)]`, u32
/// - scales: `[1, 1]` per tensor, `[d_output * groups, 1]` per channel and group, f32
#[derive(Module, Debug)]
pub struct PackedWeight {
    /// Packed codes.
    pub codes: Param<Tensor<2, Int>>,
    /// Scales `gamma`.
    pub scales: Param<Tensor<2>>,
    /// The other fields as a tag in records, so that one of another layout is not loaded.
    layout: Tagged<()>,
    d_input: usize,
    #[module(skip)]
    groups: Groups,
    #[module(skip)]
    dtype: FloatDType,
}

impl PackedWeight {
    /// Packs a latent weight whose output channels lie along `output_axis`, the first or the
    /// last dimension; the others are its input features, flattened.
    ///
    /// # Panics
    ///
    /// If the granularity of the quantizer does not fit the weight, or its codes are not
    /// [ternary](WeightQuantizer::is_ternary).
    #[track_caller]
    pub fn from_latent<const D: usize>(
        weight: Tensor<D>,
        quantizer: &WeightQuantizer,
        output_axis: usize,
    ) -> Self {
        let shape = weight.dims();
        let groups = match quantizer.groups(&shape, output_axis) {
            Ok(groups) => groups,
            Err(error) => panic!("weight of shape {shape:?}: {error}"),
        };
        let quantized = quantizer.quantize(weight.detach(), groups);
        Self::from_quantized(quantized, quantizer, groups, output_axis)
    }

    /// Creates a weight that was packed elsewhere, with one scale: `words` are the rows of
    /// [`pack_rows`](bitnet_burn_kernels::packing::pack_rows) of a matrix `[d_output, d_input]` of codes.
    ///
    /// # Panics
    ///
    /// If the number of words does not match the shape, or `gamma` is not a positive number.
    #[track_caller]
    pub fn from_words(words: Vec<u32>, shape: [usize; 2], gamma: f32, device: &Device) -> Self {
        let [d_output, d_input] = shape;
        let words_per_row = words_per_row(d_input);
        assert!(
            words.len() == d_output * words_per_row,
            "a weight of {d_output} rows of {d_input} codes has {} words, got {}",
            d_output * words_per_row,
            words.len()
        );
        assert!(
            gamma.is_finite() && gamma > 0.0,
            "a scale is positive, got {gamma}"
        );
        let codes = TensorData::new(words, [d_output, words_per_row]);
        let codes = Tensor::from_data(codes, (device, DType::U32));
        let scales = Tensor::from_data([[gamma]], (device, DType::F32));
        let groups = Groups::per_tensor(d_output * d_input);
        Self::new(codes, scales, d_input, groups, FloatDType::F32)
    }

    fn new(
        codes: Tensor<2, Int>,
        scales: Tensor<2>,
        d_input: usize,
        groups: Groups,
        dtype: FloatDType,
    ) -> Self {
        let Groups { outer, size, inner } = groups;
        let [d_output, _] = codes.dims();
        let layout =
            format!("ternary {d_output} x {d_input}, groups {outer} x {size} x {inner}, {dtype:?}");
        let placeholder = Tensor::from_data([0], &codes.device());
        let placeholder = Param::initialized(ParamId::new(), placeholder);
        Self {
            codes: Param::initialized(ParamId::new(), codes),
            scales: Param::initialized(ParamId::new(), scales),
            layout: Tagged::new(&layout, placeholder, ()),
            d_input,
            groups,
            dtype,
        }
    }

    /// Returns the rows of codes in the format of [`from_words`](Self::from_words).
    ///
    /// # Errors
    ///
    /// If they cannot be read back from the device.
    pub fn to_words(&self) -> Result<Vec<u32>, TensorReadError> {
        Ok(self
            .codes
            .val()
            .try_into_data_dtype(DType::U32)?
            .try_to_vec()?)
    }

    /// Returns the scale `gamma` of a weight that has one.
    ///
    /// # Panics
    ///
    /// If the weight has more than one scale.
    ///
    /// # Errors
    ///
    /// If it cannot be read back from the device.
    #[track_caller]
    pub fn scale(&self) -> Result<f32, TensorReadError> {
        let scales = self.scales.val();
        assert_shape!(scales, [1, 1]);
        Ok(scales
            .try_into_data_dtype(DType::F32)?
            .try_to_vec::<f32>()?[0])
    }

    /// Returns whether codes and scales equal those of another weight.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self.to_data(), other.to_data()) {
            (Ok(own), Ok(other)) => own == other,
            _ => false,
        }
    }

    /// Returns codes and scales in their stored form.
    pub(super) fn to_data(&self) -> Result<[TensorData; 2], TensorReadError> {
        let codes = self.codes.val().try_into_data_dtype(DType::U32)?;
        let scales = self.scales.val().try_into_data_dtype(DType::F32)?;
        Ok([codes, scales])
    }

    /// Creates a weight of `[d_output, d_input]` from the result of [`to_data`](Self::to_data).
    ///
    /// # Errors
    ///
    /// If shapes or types are not those of the weight, or a code or scale is invalid.
    pub(super) fn from_data(
        codes: TensorData,
        scales: TensorData,
        [d_output, d_input]: [usize; 2],
        quantizer: &WeightQuantizer,
        dtype: DType,
        device: &Device,
    ) -> Result<Self, String> {
        let groups = quantizer.groups(&[d_output, d_input], 0);
        let groups = groups.map_err(|error| error.to_string())?;
        let words = words_per_row(d_input);
        expect("codes", &codes, DType::U32, [d_output, words])?;
        expect("scales", &scales, DType::F32, groups.scale_shape())?;
        // Both bits of the code 3 are set. The padding of the last word of a row has the code of zero.
        let used = d_input - CODES_PER_WORD * (words - 1);
        let filling = u32::MAX.checked_shl((BITS_PER_CODE * used) as u32);
        let is_damaged = |(i, word): (usize, u32)| {
            let filling = filling.filter(|_| (i + 1).is_multiple_of(words));
            let filled = (word ^ ZERO_WORD) & filling.unwrap_or(0);
            word & (word >> 1) & ZERO_WORD != 0 || filled != 0
        };
        if codes.iter::<u32>().enumerate().any(is_damaged) {
            return Err("it has codes other than -1, 0 and 1".to_string());
        }
        let is_scale = |scale: f32| scale.is_finite() && scale > 0.0;
        if let Some(scale) = scales.iter::<f32>().find(|scale| !is_scale(*scale)) {
            return Err(format!("a scale is positive, found {scale}"));
        }
        let codes = Tensor::from_data(codes, (device, DType::U32));
        let scales = Tensor::from_data(scales, (device, DType::F32));
        Ok(Self::new(codes, scales, d_input, groups, dtype.into()))
    }

    /// Returns the groups of values that share a scale.
    pub(crate) fn groups(&self) -> Groups {
        self.groups
    }

    /// Packs a quantized weight: its codes are computed from the values used in training.
    #[track_caller]
    pub(super) fn from_quantized<const D: usize>(
        quantized: QuantizedWeight<D>,
        quantizer: &WeightQuantizer,
        groups: Groups,
        output_axis: usize,
    ) -> Self {
        let QuantizedWeight { values, scales, .. } = quantized;
        let dtype = values.dtype().into();
        let (matrix, scales, groups) = channels_first(values, scales, groups, output_axis);
        let d_input = matrix.dims()[1];
        let codes = quantizer.pack(matrix, scales.clone(), groups);
        Self::new(codes, scales, d_input, groups, dtype)
    }

    /// Returns the numbers of output channels and input features.
    pub fn dims(&self) -> [usize; 2] {
        [self.codes.val().dims()[0], self.d_input]
    }

    /// Returns the weight as a matrix `[d_output, d_input]` of `code * gamma`.
    pub fn unpack(&self) -> Tensor<2> {
        self.unpack_as(self.dtype)
    }

    /// Returns the matrix of [`unpack`](Self::unpack) in a float type.
    pub fn unpack_as(&self, dtype: FloatDType) -> Tensor<2> {
        let (codes, scales, shape) = (self.codes.val(), self.scales.val(), self.dims());
        ternary_unpack(codes, scales, self.groups, shape, dtype)
    }

    /// Returns the ranges of rows of up to about a million values each, divided evenly: a product with a few
    /// rows left over is summed in another order on Flex.
    pub(crate) fn parts(&self) -> impl ExactSizeIterator<Item = Range<usize>> + use<> {
        let [d_output, d_input] = self.dims();
        let most = (UNPACKED / d_input.max(1)).max(1);
        let rows = d_output.div_ceil(d_output.div_ceil(most).max(1)).max(1);
        let first = (0..d_output).step_by(rows);
        first.map(move |first| first..d_output.min(first + rows))
    }

    /// Returns the float type of [`unpack`](Self::unpack): that of the latent weight.
    pub(crate) fn dtype(&self) -> FloatDType {
        self.dtype
    }

    /// Returns a range of the rows of [`unpack_as`](Self::unpack_as).
    pub(crate) fn unpack_rows(&self, rows: Range<usize>, dtype: FloatDType) -> Tensor<2> {
        let of_a_row = self.scales_of_a_row();
        let of_rows = rows.start * of_a_row..rows.end * of_a_row;
        let scales = match of_a_row {
            0 => self.scales.val(),
            _ => self.scales.val().slice([of_rows]),
        };
        self.unpacked(self.codes.val().slice([rows]), scales, dtype)
    }

    /// Returns the rows of [`unpack`](Self::unpack) with the given indices.
    pub(crate) fn select_rows(&self, rows: Tensor<1, Int>) -> Tensor<2> {
        let scales = self.scales.val();
        let scales = match self.scales_of_a_row() {
            0 => scales,
            of_a_row => {
                let [d_output, _] = self.dims();
                let of_rows = scales.reshape([d_output, of_a_row]).select(0, rows.clone());
                let selected = of_rows.shape().num_elements();
                of_rows.reshape([selected, 1])
            }
        };
        self.unpacked(self.codes.val().select(0, rows), scales, self.dtype)
    }

    /// Returns the number of scales per row; 0 if all rows share one.
    fn scales_of_a_row(&self) -> usize {
        match self.groups.outer {
            1 => 0,
            outer => outer / self.dims()[0],
        }
    }

    /// Returns the values of some rows of codes with their scales.
    fn unpacked(&self, codes: Tensor<2, Int>, scales: Tensor<2>, dtype: FloatDType) -> Tensor<2> {
        let shape = [codes.dims()[0], self.d_input];
        let groups = match scales.dims()[0] {
            1 => Groups::per_tensor(shape[0] * self.d_input),
            outer => Groups {
                outer,
                ..self.groups
            },
        };
        ternary_unpack(codes, scales, groups, shape, dtype)
    }

    /// Applies the weight to activations quantized to `bits` bits per token, and adds a bias: the values of
    /// [`bit_linear`](crate::functions::bit_linear), bit for bit.
    ///
    /// # Shapes
    ///
    /// - x: `[.., d_input]`
    /// - output: `[.., d_output]`
    pub fn linear<const D: usize>(
        &self,
        x: Tensor<D>,
        bias: Option<Tensor<1>>,
        bits: u8,
    ) -> Tensor<D> {
        packed_linear(
            x,
            self.codes.val(),
            self.scales.val(),
            bias,
            self.groups,
            bits,
        )
    }

    /// Returns the weight in its layout before packing.
    ///
    /// # Panics
    ///
    /// If `shape` has another number of values, or `output_axis` is neither its first nor its last
    /// dimension.
    #[track_caller]
    pub fn unpack_like<const D: usize>(&self, shape: [usize; D], output_axis: usize) -> Tensor<D> {
        let matrix = self.unpack();
        match output_axis {
            0 => matrix.reshape(shape),
            _ => matrix.transpose().reshape(shape),
        }
    }

    /// Returns the bytes of codes and scales.
    pub fn num_bytes(&self) -> usize {
        4 * (self.codes.val().shape().num_elements() + self.groups.num_groups())
    }
}

/// Returns an error unless data has a type and shape.
fn expect(what: &str, data: &TensorData, dtype: DType, shape: [usize; 2]) -> Result<(), String> {
    match data.dtype() == dtype && data.shape()[..] == shape {
        true => Ok(()),
        false => Err(format!(
            "expected {what} of {dtype:?} {shape:?}, found {:?} {:?}",
            data.dtype(),
            data.shape()
        )),
    }
}

/// Returns the weight as `[d_output, d_input]`, with its scales and groups in that order.
#[track_caller]
fn channels_first<const D: usize>(
    weight: Tensor<D>,
    scales: Tensor<2>,
    groups: Groups,
    output_axis: usize,
) -> (Tensor<2>, Tensor<2>, Groups) {
    let shape = weight.dims();
    let d_output = shape[output_axis];
    let d_input = shape.iter().product::<usize>() / d_output.max(1);
    if output_axis == 0 {
        return (weight.reshape([d_output, d_input]), scales, groups);
    }
    assert_eq!(
        output_axis,
        D - 1,
        "a weight is packed by its first or last dimension, got dimension {output_axis} of shape {shape:?}"
    );
    let matrix = weight.reshape([d_input, d_output]).transpose();
    let groups_first = Groups {
        outer: groups.num_groups(),
        size: groups.size,
        inner: 1,
    };
    let scales = scales.transpose().reshape(groups_first.scale_shape());
    (matrix, scales, groups_first)
}
