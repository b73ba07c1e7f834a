use burn::{
    module::Param,
    nn::Linear,
    tensor::{DType, Tensor},
};

use crate::{
    nn::{BitLinear, Linear4bit, PackedBitLinear, Projection},
    ops::Groups,
    qat::{PackedFourBit, PackedWeight},
    quant::{TernaryConfig, WeightGranularity, WeightQuantizer},
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

    /// Returns the projection with `delta` of shape `[d_input, d_output]` added to its weight: to the
    /// latent one of a [`BitLinear`], and quantized again in a [`Linear4bit`] and a [`PackedBitLinear`], the latter by
    /// `quantizer` or else with the granularity of its scales.
    #[must_use]
    fn with_added(self, delta: Tensor<2>, quantizer: Option<&WeightQuantizer>) -> Self;
}

/// Returns a weight as it is computed with here.
fn dense(weight: Tensor<2>) -> Tensor<2> {
    weight.without_autodiff().cast(DType::F32)
}

/// Adds to a parameter in `f32`, in its own type.
fn added(param: Param<Tensor<2>>, delta: Tensor<2>) -> Param<Tensor<2>> {
    param.map(|weight| {
        let (dtype, trains) = (weight.dtype(), weight.is_require_grad());
        let is_autodiff = weight.is_autodiff();
        let sum = (dense(weight) + delta.without_autodiff()).cast(dtype);
        let sum = if is_autodiff { sum.autodiff() } else { sum };
        sum.set_require_grad(trains)
    })
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

    fn with_added(mut self, delta: Tensor<2>, _quantizer: Option<&WeightQuantizer>) -> Self {
        self.weight = added(self.weight, delta);
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

    fn with_added(mut self, delta: Tensor<2>, _quantizer: Option<&WeightQuantizer>) -> Self {
        self.weight = added(self.weight, delta);
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

    fn with_added(mut self, delta: Tensor<2>, quantizer: Option<&WeightQuantizer>) -> Self {
        if let Some(weight) = self.float_weight.take() {
            self.float_weight = Some(added(weight, delta));
            return self;
        }
        let same = || TernaryConfig::new(granularity(&self.weight)).into();
        let quantizer = quantizer.cloned().unwrap_or_else(same);
        let sum = self.dense_weight() + delta.without_autodiff();
        self.weight = PackedWeight::from_latent(sum, &quantizer, 1);
        self
    }
}

impl AdapterBase for Linear4bit {
    const KIND: &'static str = "in 4 bits";

    fn is_float(&self) -> bool {
        false
    }

    fn size(&self) -> [usize; 2] {
        let [d_output, d_input] = self.weight.dims();
        [d_input, d_output]
    }

    fn dense_weight(&self) -> Tensor<2> {
        dense(self.weight.dequantize().transpose())
    }

    fn bias(&self) -> Option<&Param<Tensor<1>>> {
        self.bias.as_ref()
    }

    fn with_added(mut self, delta: Tensor<2>, _quantizer: Option<&WeightQuantizer>) -> Self {
        let sum = self.dense_weight() + delta.without_autodiff();
        self.weight = PackedFourBit::from_matrix(sum.transpose(), self.weight.config());
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
