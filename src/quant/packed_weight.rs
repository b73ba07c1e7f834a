use bitnet_burn_kernels::packing::words_per_row;
use burn::{
    module::{Module, Param, ParamId},
    tensor::{DType, Device, FloatDType, Int, Tensor, TensorData, TensorReadError, assert_shape},
};

use super::{WeightQuantizer, weight::QuantizedWeight};
use crate::{
    functions::{packed_linear, ternary_unpack},
    ops::Groups,
};

/// A packed weight: 2 bits per value and its scales, nothing else.
///
/// Stored as a matrix `[d_output, d_input]` with the codes of an output channel side by side, so
/// that a row can be multiplied with an activation without touching the others. Bit layout:
/// [`packing`](bitnet_burn_kernels::packing).
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
    /// If the granularity of the quantiser does not fit the weight, or its codes are not
    /// [ternary](WeightQuantizer::is_ternary).
    #[track_caller]
    pub fn from_latent<const D: usize>(
        weight: Tensor<D>,
        quantizer: &WeightQuantizer,
        output_axis: usize,
    ) -> Self {
        let shape = weight.dims();
        let groups = quantizer
            .groups(&shape, output_axis)
            .unwrap_or_else(|error| panic!("weight of shape {shape:?}: {error}"));
        let quantized = quantizer.quantize(weight.detach(), groups);
        Self::from_quantized(quantized, quantizer, groups, output_axis)
    }

    /// A weight that was packed elsewhere, with one scale: `words` are the rows of
    /// [`pack_rows`](bitnet_burn_kernels::packing::pack_rows) of a matrix `[d_output, d_input]` of codes.
    ///
    /// # Panics
    ///
    /// If there are more or fewer words than the shape has, or `gamma` is not a positive number.
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
        Self {
            codes: Param::initialized(ParamId::new(), codes),
            scales: Param::initialized(ParamId::new(), scales),
            d_input,
            groups: Groups::per_tensor(d_output * d_input),
            dtype: FloatDType::F32,
        }
    }

    /// The rows of codes, as [`from_words`](Self::from_words) takes them, and the scale.
    ///
    /// # Panics
    ///
    /// If the weight has more than one scale.
    ///
    /// # Errors
    ///
    /// If the device does not give them away.
    #[track_caller]
    pub fn to_words(&self) -> Result<(Vec<u32>, f32), TensorReadError> {
        let scales = self.scales.val();
        assert_shape!(scales, [1, 1]);
        let words = self.codes.val().try_into_data_dtype(DType::U32)?;
        let scales = scales.try_into_data_dtype(DType::F32)?;
        Ok((words.try_to_vec()?, scales.try_to_vec::<f32>()?[0]))
    }

    /// Which values share a scale.
    pub(crate) fn groups(&self) -> Groups {
        self.groups
    }

    /// Packs a quantised weight: its codes are found again in the very values that training uses.
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
        Self {
            codes: Param::initialized(ParamId::new(), codes),
            scales: Param::initialized(ParamId::new(), scales),
            d_input,
            groups,
            dtype,
        }
    }

    /// Output channels and input features.
    pub fn dims(&self) -> [usize; 2] {
        [self.codes.val().dims()[0], self.d_input]
    }

    /// The weight as a matrix `[d_output, d_input]` of `code * gamma`.
    pub fn unpack(&self) -> Tensor<2> {
        let shape = self.dims();
        ternary_unpack(
            self.codes.val(),
            self.scales.val(),
            self.groups,
            shape,
            self.dtype,
        )
    }

    /// The product of activations of `bits` bits per token with the weight, and a bias: the values of
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

    /// The weight in the layout that it had before packing.
    ///
    /// # Panics
    ///
    /// If `shape` has another number of values, or `output_axis` is neither its first nor its
    /// last dimension.
    #[track_caller]
    pub fn unpack_like<const D: usize>(&self, shape: [usize; D], output_axis: usize) -> Tensor<D> {
        let matrix = self.unpack();
        match output_axis {
            0 => matrix.reshape(shape),
            _ => matrix.transpose().reshape(shape),
        }
    }

    /// Bytes of codes and scales.
    pub fn num_bytes(&self) -> usize {
        4 * (self.codes.val().shape().num_elements() + self.groups.num_groups())
    }
}

/// The weight as `[d_output, d_input]` with its scales and groups in that order.
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
