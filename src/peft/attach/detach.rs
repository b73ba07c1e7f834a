use std::collections::{HashMap, HashSet};

use burn::module::{Module, Reparameterization};

use super::{
    adapted_weight::{AdaptedWeight, SUM_QUANT},
    bare::{Requantize, Values, bare},
    error::AttachError,
};
use crate::qat::{Inventory, QuantControls, detach_controls, parameter_quantizers};

/// Removes the adapters that [`Attach`](super::Attach) attached: returns the model with the stored values of its
/// weights, bit for bit, and their fake quantizers.
///
/// Parameters that adapting froze stay frozen; [`Module::unfreeze`] trains all of them. With the initializations
/// [PiSSA](crate::peft::LoraInit::Pissa) and [OLoRA](crate::peft::LoraInit::Olora), the stored weight is what they
/// left of it, as in peft.
///
/// # Errors
///
/// If the model has no attached adapter, or a parameter has another reparameterization, which would be lost.
pub fn detach_adapters<M: Module>(model: M) -> Result<M, AttachError> {
    let inventory = Inventory::of(&model);
    adapted(&inventory)?;
    let quantizers = parameter_quantizers(&model).into_iter();
    let quantizers = quantizers.map(|q| (q.parameter, q.fake_quant)).collect();
    let model = bare(model, &inventory, Values::default())?;
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
