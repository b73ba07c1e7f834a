use burn::{
    module::{Module, Param},
    nn::Linear,
    tensor::{DType, Device, Tensor},
};

use crate::{
    nn::{BitLinear, Linear4bit, PackedBitLinear, Projection},
    ops::Groups,
    qat::{PackedFourBit, PackedWeight},
    quant::{WeightGranularity, WeightQuantizer},
};

/// A projection that adapters stand beside.
pub trait AdapterBase: Projection {
    /// Kind of the weight, for messages.
    const KIND: &'static str;

    /// Returns whether a matrix can be added to the weight without rounding it to codes.
    fn is_float(&self) -> bool;

    /// Returns `[d_input, d_output]`.
    fn size(&self) -> [usize; 2];

    /// Returns the weight that multiplies the input, as a dense `[d_input, d_output]` in `f32`, without autodiff.
    fn dense_weight(&self) -> Tensor<2>;

    /// Returns the bias of shape `[d_output]`.
    fn bias(&self) -> Option<&Param<Tensor<1>>>;

    /// Returns the projection with another weight of shape `[d_input, d_output]`, in the type of its own: added to
    /// the latent one of a [`BitLinear`] is its difference from [`dense_weight`](Self::dense_weight); that of a
    /// [`Linear4bit`] and a [`PackedBitLinear`] is quantized, the latter by `quantizer` or else with the granularity
    /// of its scales.
    #[must_use]
    fn with_weight(self, weight: Tensor<2>, quantizer: Option<&WeightQuantizer>) -> Self;

    /// Returns the projection with another bias of shape `[d_output]`.
    #[must_use]
    fn with_bias(self, bias: Option<Tensor<1>>) -> Self;
}

/// Returns a weight as it is computed with here.
fn dense(weight: Tensor<2>) -> Tensor<2> {
    weight.without_autodiff().cast(DType::F32)
}

/// Returns a tensor computed without autodiff on the device of a model.
pub(super) fn on<const D: usize>(tensor: Tensor<D>, device: &Device) -> Tensor<D> {
    match device.is_autodiff() {
        true => tensor.autodiff(),
        false => tensor,
    }
}

/// Returns a parameter with other values, in its own type.
pub(super) fn replaced<const D: usize>(
    param: Param<Tensor<D>>,
    value: Tensor<D>,
) -> Param<Tensor<D>> {
    param.map(|old| {
        let value = value.without_autodiff().cast(old.dtype());
        let value = match old.is_autodiff() {
            true => value.autodiff(),
            false => value,
        };
        value.set_require_grad(old.is_require_grad())
    })
}

/// Returns a bias with other values, which is frozen if it is new.
fn replaced_bias(
    param: Option<Param<Tensor<1>>>,
    bias: Option<Tensor<1>>,
) -> Option<Param<Tensor<1>>> {
    match (param, bias) {
        (Some(param), Some(bias)) => Some(replaced(param, bias)),
        (None, Some(bias)) => Some(Param::from_tensor(bias).freeze()),
        (_, None) => None,
    }
}

impl AdapterBase for Linear {
    const KIND: &'static str = "in full precision";

    fn is_float(&self) -> bool {
        true
    }

    fn size(&self) -> [usize; 2] {
        self.weight.shape().dims()
    }

    fn dense_weight(&self) -> Tensor<2> {
        dense(self.weight.val())
    }

    fn bias(&self) -> Option<&Param<Tensor<1>>> {
        self.bias.as_ref()
    }

    fn with_weight(mut self, weight: Tensor<2>, _quantizer: Option<&WeightQuantizer>) -> Self {
        self.weight = replaced(self.weight, weight);
        self
    }

    fn with_bias(mut self, bias: Option<Tensor<1>>) -> Self {
        self.bias = replaced_bias(self.bias, bias);
        self
    }
}

impl AdapterBase for BitLinear {
    const KIND: &'static str = "trained with quantization";

    fn is_float(&self) -> bool {
        self.is_full_precision()
    }

    fn size(&self) -> [usize; 2] {
        self.weight.shape().dims()
    }

    fn dense_weight(&self) -> Tensor<2> {
        dense(self.quantized_weight())
    }

    fn bias(&self) -> Option<&Param<Tensor<1>>> {
        self.bias.as_ref()
    }

    fn with_weight(mut self, weight: Tensor<2>, _quantizer: Option<&WeightQuantizer>) -> Self {
        let change = weight.without_autodiff() - self.dense_weight();
        let latent = dense(self.weight.val()) + change;
        self.weight = replaced(self.weight, latent);
        self
    }

    fn with_bias(mut self, bias: Option<Tensor<1>>) -> Self {
        self.bias = replaced_bias(self.bias, bias);
        self
    }
}

impl AdapterBase for PackedBitLinear {
    const KIND: &'static str = "packed";

    fn is_float(&self) -> bool {
        self.float_weight.is_some()
    }

    fn size(&self) -> [usize; 2] {
        match &self.float_weight {
            Some(weight) => weight.shape().dims(),
            None => {
                let [d_output, d_input] = self.weight.dims();
                [d_input, d_output]
            }
        }
    }

    fn dense_weight(&self) -> Tensor<2> {
        dense(match &self.float_weight {
            Some(weight) => weight.val(),
            None => self.weight.unpack().transpose(),
        })
    }

    fn bias(&self) -> Option<&Param<Tensor<1>>> {
        self.bias.as_ref()
    }

    fn with_weight(mut self, weight: Tensor<2>, quantizer: Option<&WeightQuantizer>) -> Self {
        if let Some(float) = self.float_weight.take() {
            self.float_weight = Some(replaced(float, weight));
            return self;
        }
        let same = || WeightQuantizer::ternary(granularity(&self.weight));
        let quantizer = quantizer.cloned().unwrap_or_else(same);
        self.weight = PackedWeight::from_latent(weight.without_autodiff(), &quantizer, 1);
        self
    }

    fn with_bias(mut self, bias: Option<Tensor<1>>) -> Self {
        self.bias = replaced_bias(self.bias, bias);
        self
    }
}

impl AdapterBase for Linear4bit {
    const KIND: &'static str = "in 4 bits";

    fn is_float(&self) -> bool {
        self.is_full_precision()
    }

    fn size(&self) -> [usize; 2] {
        match &self.float_weight {
            Some(weight) => weight.shape().dims(),
            None => {
                let [d_output, d_input] = self.weight.dims();
                [d_input, d_output]
            }
        }
    }

    fn dense_weight(&self) -> Tensor<2> {
        dense(match &self.float_weight {
            Some(weight) => weight.val(),
            None => self.weight.dequantize().transpose(),
        })
    }

    fn bias(&self) -> Option<&Param<Tensor<1>>> {
        self.bias.as_ref()
    }

    fn with_weight(mut self, weight: Tensor<2>, _quantizer: Option<&WeightQuantizer>) -> Self {
        if let Some(float) = self.float_weight.take() {
            self.float_weight = Some(replaced(float, weight));
            return self;
        }
        let matrix = weight.without_autodiff().transpose();
        self.weight = PackedFourBit::from_matrix(matrix, self.weight.config());
        self
    }

    fn with_bias(mut self, bias: Option<Tensor<1>>) -> Self {
        self.bias = replaced_bias(self.bias, bias);
        self
    }
}

/// Returns the granularity of the scales of a packed weight.
fn granularity(weight: &PackedWeight) -> WeightGranularity {
    let Groups { size, .. } = weight.groups();
    let [d_output, d_input] = weight.dims();
    match size {
        size if size == d_input * d_output => WeightGranularity::PerTensor,
        size if size == d_input => WeightGranularity::PerChannel,
        group_size => WeightGranularity::PerGroup { group_size },
    }
}
