//! Fake quantizers in the reparameterizations of parameters.

use core::any::Any;
use std::collections::HashMap;

use burn::{
    module::{Module, Param},
    tensor::{Int, Tensor},
};

use super::{FakeQuant, control::QuantControl};
use crate::base::path_visitor::{ModulePath, PathVisitor, join, visit_paths};

/// A fake quantizer that is the reparameterization of a parameter, or a field of it.
#[derive(Debug)]
pub(crate) struct ParameterQuantizer {
    /// Path of the parameter.
    pub(crate) parameter: String,
    /// Name of the field that holds the quantizer; that of the reparameterization if it is one.
    pub(crate) field: String,
    /// The quantizer, with the parameters and the control of the one in the model.
    pub(crate) fake_quant: FakeQuant,
}

/// Returns the fake quantizers in the reparameterizations of a model.
///
/// A visitor of Burn sees the parameters of a reparameterization, not the reparameterization: each quantizer is
/// put together from its own.
pub(crate) fn parameter_quantizers<M: Module>(model: &M) -> Vec<ParameterQuantizer> {
    let mut parts = Parts::default();
    visit_paths(model, &mut parts);
    let Parts { controls, scales } = parts;
    let quantizers = controls.into_iter().filter_map(|found| {
        let scale = scales.get(&format!("{}.scale", found.quantizer)).cloned();
        Some(ParameterQuantizer {
            fake_quant: FakeQuant::of_control(found.control, scale)?,
            parameter: found.parameter,
            field: found.field,
        })
    });
    quantizers.collect()
}

/// Parameters of quantizers in reparameterizations.
#[derive(Default)]
struct Parts {
    controls: Vec<FoundControl>,
    /// Trained scales by their paths.
    scales: HashMap<String, Param<Tensor<2>>>,
}

struct FoundControl {
    parameter: String,
    /// Path of the quantizer.
    quantizer: String,
    field: String,
    control: QuantControl,
}

/// Returns a parameter as one of the type that it has.
fn as_type<P: 'static, T: Clone + 'static>(param: &P) -> Option<T> {
    (param as &dyn Any).downcast_ref::<T>().cloned()
}

impl PathVisitor for Parts {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        let is_scale = path.fields().last().is_some_and(|f| f.name == "scale");
        if is_scale && path.reparameterized().is_some() {
            let scale = as_type(param).map(|scale| (path.join(), scale));
            self.scales.extend(scale);
        }
    }

    fn visit_int<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D, Int>>) {
        let (Some(parameter), Some(param)) = (path.reparameterized(), as_type(param)) else {
            return;
        };
        // Below the quantizer, the path ends in `control.state` and the tag of the scheme.
        let Some((quantizer, [_, _, _])) = path.fields().split_last_chunk::<3>() else {
            return;
        };
        let control = QuantControl::of_parameter(&param);
        if let (Some(control), Some(field)) = (control, quantizer.last()) {
            self.controls.push(FoundControl {
                parameter: join(parameter),
                quantizer: join(quantizer),
                field: field.name.clone(),
                control,
            });
        }
    }
}
