use std::collections::{HashMap, HashSet};

use burn::{
    module::{Module, Param, Reparameterization},
    tensor::{DType, Tensor},
};

use super::{
    adapted_weight::{AdaptedWeight, INITIAL, SUM_QUANT},
    bare::{Requantize, Values, bare},
    error::AttachError,
};
use crate::{
    base::path_visitor::{ModulePath, PathVisitor, join, visit_paths},
    qat::{Inventory, QuantControls, detach_controls, parameter_quantizers},
};

/// Removes the adapters that [`Attach`](super::Attach) attached: returns the model with the stored values of its
/// weights, bit for bit, and their fake quantizers.
///
/// A product that [PiSSA](crate::peft::LoraInit::Pissa) or [OLoRA](crate::peft::LoraInit::Olora) subtracted from a weight is
/// added to it again, which gives the weight but for rounding. Parameters that adapting froze stay
/// frozen; [`Module::unfreeze`] trains all of them.
///
/// # Errors
///
/// If the model has no attached adapter, or a parameter has another reparameterization, which would be lost.
pub fn detach_adapters<M: Module>(model: M) -> Result<M, AttachError> {
    let inventory = Inventory::of(&model);
    adapted(&inventory)?;
    let quantizers = parameter_quantizers(&model).into_iter();
    let quantizers = quantizers.map(|q| (q.parameter, q.fake_quant)).collect();
    let mut originals = Originals::default();
    visit_paths(&model, &mut originals);
    let model = bare(model, &inventory, originals.values())?;
    Ok(model.apply_reparameterization(Requantize(quantizers)))
}

/// Merges the adapters that [`Attach`](super::Attach) attached into the weights: returns a model without them.
///
/// The merged weight is the one that layers read, so outputs do not change. With
/// [`QuantizedPart::Base`](super::QuantizedPart::Base) it is in full precision, and no longer quantized; with
/// [`QuantizedPart::Sum`](super::QuantizedPart::Sum) the sum becomes the latent weight of the fake quantizer, which
/// stays: [`convert`](crate::qat::convert) packs it. A weight in half precision is rounded to its type, as in each
/// forward pass.
///
/// # Errors
///
/// If the model has no attached adapter, or a parameter has another reparameterization, which would be lost.
pub fn merge_adapters<M: Module>(model: M) -> Result<M, AttachError> {
    let inventory = Inventory::of(&model);
    let adapted = adapted(&inventory)?;
    let quantizers = parameter_quantizers(&model).into_iter();
    let kept = quantizers.filter(|q| q.field == SUM_QUANT || !adapted.contains(&q.parameter));
    let kept: HashMap<_, _> = kept.map(|q| (q.parameter, q.fake_quant)).collect();
    // Without autodiff, and so without the noise of training; without the quantizers of sums, which stay.
    let sums = detach_controls(model.valid());
    let of_sums = |path: &str| adapted.contains(path) && kept.contains_key(path);
    QuantControls::of(&sums).filter(of_sums).set_excluded(true);
    let merged = Values::of(&sums.materialize(), adapted);
    let model = bare(model, &inventory, merged)?;
    Ok(model.apply_reparameterization(Requantize(kept)))
}

/// Returns the paths of the weights with an adapter.
fn adapted(inventory: &Inventory) -> Result<HashSet<String>, AttachError> {
    let adapted = inventory.parameters.iter().filter(|parameter| {
        let name = parameter.reparameterization.as_deref();
        name == Some(AdaptedWeight::NAME)
    });
    let paths: HashSet<String> = adapted.map(|p| p.path.clone()).collect();
    match paths.is_empty() {
        true => Err(AttachError::NotAttached),
        false => Ok(paths),
    }
}

/// Weights from which an initialization subtracted a product.
#[derive(Default)]
struct Originals {
    /// Stored values of the parameters by their paths.
    weights: HashMap<String, Tensor<2>>,
    /// Initial factors by the paths of the weights.
    factors: HashMap<String, Vec<Tensor<2>>>,
}

impl Originals {
    /// Returns the weights with what was subtracted.
    fn values(self) -> Values {
        let mut values = Values::default();
        for (path, factors) in self.factors {
            if let (Some(weight), [a, b]) = (self.weights.get(&path), &factors[..]) {
                let weight = weight.clone().cast(DType::F32);
                values.set(path, weight + a.clone().matmul(b.clone()));
            }
        }
        values
    }
}

impl PathVisitor for Originals {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        let &[rows, columns] = &param.lazy_shape()[..] else {
            return;
        };
        let value = || param.base().without_autodiff().reshape([rows, columns]);
        match path.reparameterized() {
            None => drop(self.weights.insert(path.join(), value())),
            Some(parameter) => {
                // The fields of the adapter: the parameter, `adapter`, `initial`, and the factor.
                let own = path.fields().get(parameter.len() + 1);
                if own.is_some_and(|field| field.name == INITIAL) {
                    self.factors
                        .entry(join(parameter))
                        .or_default()
                        .push(value());
                }
            }
        }
    }
}
