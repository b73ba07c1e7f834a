//! The values of a model's parameters, by their paths.

use std::collections::HashMap;

use burn::{
    module::{Param, ParamGroup, Reparameterization},
    tensor::{Tensor, TensorData},
};

use crate::{
    base::path_visitor::{ModulePath, PathVisitor, join},
    qat::{FakeQuant, PackedWeight},
    quant::{QatScheme, WeightQuantizer},
};

/// Equal values; unlike their bits, the two zeros are equal.
pub(super) fn equal(a: &TensorData, b: &TensorData) -> bool {
    a.dtype() == b.dtype() && a.iter::<f32>().eq(b.iter::<f32>())
}

/// A float tensor of any rank; the ranks of the float weights that Burn's layers have.
#[derive(Debug)]
pub(super) enum Value {
    Rank2(Tensor<2>),
    Rank3(Tensor<3>),
    Rank4(Tensor<4>),
    Rank5(Tensor<5>),
}

/// Runs the same expression on the tensor of each rank.
macro_rules! with_tensor {
    ($value:expr, $tensor:ident => $body:expr) => {
        match $value {
            Value::Rank2($tensor) => $body,
            Value::Rank3($tensor) => $body,
            Value::Rank4($tensor) => $body,
            Value::Rank5($tensor) => $body,
        }
    };
}

impl Value {
    fn new<const D: usize>(tensor: Tensor<D>) -> Option<Self> {
        let dispatch = tensor.without_autodiff().into_dispatch();
        match D {
            2 => Some(Self::Rank2(Tensor::from_dispatch(dispatch))),
            3 => Some(Self::Rank3(Tensor::from_dispatch(dispatch))),
            4 => Some(Self::Rank4(Tensor::from_dispatch(dispatch))),
            5 => Some(Self::Rank5(Tensor::from_dispatch(dispatch))),
            _ => None,
        }
    }

    pub fn data(&self) -> TensorData {
        with_tensor!(self, tensor => tensor.to_data())
    }

    pub fn all_finite(&self) -> bool {
        self.data().iter::<f32>().all(f32::is_finite)
    }

    /// Whether these are the values of a packed weight.
    pub fn is_packed_as(&self, weight: &PackedWeight, row_axis: usize) -> bool {
        let unpacked = with_tensor!(self, tensor => {
            let size = tensor.shape().num_elements();
            (size == weight.dims().iter().product::<usize>())
                .then(|| weight.unpack_like(tensor.dims(), row_axis).into_data())
        });
        unpacked.is_some_and(|unpacked| equal(&unpacked, &self.data()))
    }

    /// The packed weight, and what it unpacks to.
    pub fn pack(
        self,
        scheme: &QatScheme,
        [output_axis, row_axis]: [usize; 2],
        steps: Option<Tensor<2>>,
    ) -> (PackedWeight, TensorData) {
        with_tensor!(self, tensor => {
            let shape = tensor.dims();
            let quantizer = &scheme.weight;
            let groups = quantizer.groups(&shape, output_axis).expect("checked above");
            let quantized = match (quantizer, steps) {
                (WeightQuantizer::LearnedStep(config), Some(steps)) => {
                    config.quantize(tensor, steps, groups)
                }
                _ => quantizer.quantize(tensor, groups),
            };
            let packed = PackedWeight::from_quantized(quantized, quantizer, groups, row_axis);
            let unpacked = packed.unpack_like(shape, row_axis).into_data();
            (packed, unpacked)
        })
    }
}

/// Collects the values of the float parameters that can be weights by their paths, and the trained step
/// sizes by the path of their weight.
#[derive(Debug, Default)]
pub(super) struct Values {
    pub weights: HashMap<String, Value>,
    pub steps: HashMap<String, Tensor<2>>,
}

impl PathVisitor for Values {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        if let [way @ .., reparameterization, field] = path.fields()
            && (reparameterization.name.as_str(), field.name.as_str()) == (FakeQuant::NAME, "steps")
        {
            let steps = param.val().without_autodiff().into_dispatch();
            self.steps.insert(join(way), Tensor::from_dispatch(steps));
        } else if let Some(value) = Value::new(param.val()) {
            self.weights.insert(path.join(), value);
        }
    }
}

/// Finds a float parameter of a group that holds a NaN or infinity.
pub(super) struct NotFinite<'a> {
    group: &'a ParamGroup,
    pub found: Option<String>,
}

impl<'a> NotFinite<'a> {
    pub fn of(group: &'a ParamGroup) -> Self {
        Self { group, found: None }
    }
}

impl PathVisitor for NotFinite<'_> {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        let path = path.join();
        let looked_for = self.found.is_none() && self.group.matches(&param.id, Some(&path));
        if looked_for && !param.base().into_data().iter::<f32>().all(f32::is_finite) {
            self.found = Some(path);
        }
    }
}
