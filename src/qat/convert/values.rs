//! Values of a model's parameters, by their paths.

use std::collections::HashMap;

use burn::{
    module::{Param, ParamGroup},
    tensor::{DType, Tensor},
};

use crate::{
    base::path_visitor::{ModulePath, PathVisitor},
    ops::Groups,
    qat::PackedWeight,
    quant::WeightQuantizer,
};

/// A float tensor of any of the ranks of float weights in Burn's layers.
#[derive(Debug)]
pub(super) enum Value {
    Rank2(Tensor<2>),
    Rank3(Tensor<3>),
    Rank4(Tensor<4>),
    Rank5(Tensor<5>),
}

/// Evaluates the same expression on the tensor of each rank.
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

    pub fn dtype(&self) -> DType {
        with_tensor!(self, tensor => tensor.dtype())
    }

    pub fn all_finite(&self) -> bool {
        let data = with_tensor!(self, tensor => tensor.to_data());
        data.iter::<f32>().all(f32::is_finite)
    }

    /// Quantizes and packs the weight, with trained scales, if there are any.
    pub fn pack(
        self,
        quantizer: &WeightQuantizer,
        groups: Groups,
        row_axis: usize,
        scale: Option<Tensor<2>>,
    ) -> PackedWeight {
        with_tensor!(self, tensor => {
            let quantized = match (quantizer, scale) {
                (WeightQuantizer::LearnedStep(config), Some(scale)) => {
                    config.quantize(tensor, scale, groups)
                }
                _ => quantizer.quantize(tensor, groups),
            };
            PackedWeight::from_quantized(quantized, quantizer, groups, row_axis)
        })
    }
}

/// Values of the float parameters that can be weights, by their paths.
#[derive(Debug, Default)]
pub(super) struct Values(HashMap<String, Value>);

impl Values {
    /// Removes and returns the values of a weight.
    pub fn remove(&mut self, path: &str) -> Option<Value> {
        self.0.remove(path)
    }

    /// Returns the trained scales of the quantizer at a path.
    pub fn scale(&self, quantizer: &str) -> Option<Tensor<2>> {
        match self.0.get(&format!("{quantizer}.scale")) {
            Some(Value::Rank2(scale)) => Some(scale.clone()),
            _ => None,
        }
    }
}

impl PathVisitor for Values {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        if let Some(value) = Value::new(param.base()) {
            self.0.insert(path.join(), value);
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
