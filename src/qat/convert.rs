mod error;
mod values;

use std::collections::{BTreeMap, HashMap};

use burn::{
    module::{Module, ParamGroup, ParamId, Reparameterization},
    tensor::DType,
};

use super::{
    FakeQuant, PackedModel, PackedWeight,
    packed_model::{Parameters, Place},
    parameters::{Inventory, Parameter, QuantizedBy},
};
use crate::{base::path_visitor::visit_paths, quant::WeightQuantizer};

pub use error::ConvertError;
use values::{NotFinite, Values};

/// Packs the latent weights of a model, each with the quantizer that it was trained with.
///
/// Packs the weights prepared by [`Prepare`](super::Prepare), and those of layers that quantize them, such as
/// [`BitLinear`](crate::nn::BitLinear). A shared parameter is packed once and stays shared. Weights that are
/// [excluded](super::QuantControls::set_excluded) from quantization and all other parameters stay in float.
/// Weights with codes other than -1, 0 and 1, in layers with more bits in a
/// [plan](super::MixedPrecisionPlan), are not packed: they are stored as quantized values, or, in a layer
/// that quantizes its weight, unchanged.
///
/// # Errors
///
/// If no weight has codes of -1, 0 and 1, one is not fully quantized, a parameter is not finite, or it has
/// another reparameterization.
pub fn convert<M: Module>(model: &M) -> Result<PackedModel, ConvertError> {
    // As in evaluation: without gradients, and so without the noise of training.
    let model = model.valid();
    let mut packing = Packing::of(&model);
    let mut is_quantized = false;
    for parameter in Inventory::of(&model).parameters {
        if let Some(name) = &parameter.reparameterization
            && name != FakeQuant::NAME
        {
            let (path, name) = (parameter.path, name.clone());
            return Err(ConvertError::Reparameterized { path, name });
        }
        if let Some(quantizer) = quantizer(&parameter)? {
            is_quantized = true;
            if quantizer.is_ternary() {
                packing.add(parameter, quantizer)?;
            }
        }
    }
    match (is_quantized, packing.weights.is_empty()) {
        (false, _) => Err(ConvertError::NotPrepared),
        (_, true) => Err(ConvertError::NotTernary),
        _ => packing.with_rest(model),
    }
}

/// Returns the quantizer of a parameter that is quantized.
fn quantizer(parameter: &Parameter) -> Result<Option<WeightQuantizer>, ConvertError> {
    let Some(QuantizedBy { control, .. }) = &parameter.quantized_by else {
        return Ok(None);
    };
    // A weight without values cannot be packed.
    if control.excluded() || parameter.shape.contains(&0) {
        return Ok(None);
    }
    match control.lambda() {
        1.0 => Ok(control.active_quantizer()),
        lambda => Err(ConvertError::Lambda {
            path: parameter.path.clone(),
            lambda: f64::from(lambda),
        }),
    }
}

/// The weights of a model packed so far.
struct Packing {
    values: Values,
    weights: BTreeMap<String, PackedWeight>,
    places: BTreeMap<String, Place>,
    /// First path of each parameter.
    first: HashMap<ParamId, String>,
}

impl Packing {
    fn of<M: Module>(model: &M) -> Self {
        let mut values = Values::default();
        visit_paths(model, &mut values);
        Self {
            values,
            weights: BTreeMap::new(),
            places: BTreeMap::new(),
            first: HashMap::new(),
        }
    }

    fn add(
        &mut self,
        parameter: Parameter,
        quantizer: WeightQuantizer,
    ) -> Result<(), ConvertError> {
        let (path, output_axis) = (parameter.path.clone(), parameter.output_axis());
        let groups = quantizer.groups(&parameter.shape, output_axis);
        let groups = groups.map_err(|source| ConvertError::Granularity {
            path: path.clone(),
            source,
        })?;
        let scale = parameter.quantized_by.as_ref();
        let scale = scale.and_then(|by| self.values.scale(&by.path));
        let Some(latent) = self.values.remove(&path) else {
            let shape = parameter.shape;
            return Err(ConvertError::Rank { path, shape });
        };
        if !latent.all_finite() {
            return Err(ConvertError::NotFinite { path });
        }
        let row_axis = row_axis(&parameter);
        let dtype = latent.dtype();
        let weight = latent.pack(&quantizer, groups, row_axis, scale);
        // The places of a shared parameter may differ, as Burn's optimizers update only the first one.
        let first = self.first.entry(parameter.id).or_insert(path.clone());
        let is_shared = *first != path && weight.equals(&self.weights[first]);
        let mut place = place(parameter, quantizer, dtype, row_axis);
        match is_shared {
            true => place.weight = first.clone(),
            false => drop(self.weights.insert(path.clone(), weight)),
        }
        self.places.insert(path, place);
        Ok(())
    }

    /// Returns the packed model, with the tensors that are not packed.
    fn with_rest<M: Module>(self, model: M) -> Result<PackedModel, ConvertError> {
        let mut parameters = Parameters::default();
        visit_paths(&model, &mut parameters);
        let paths = parameters.plain_paths();
        let rest = paths.filter(|path| !self.places.contains_key(*path));
        let mut rest_paths: Vec<String> = rest.map(ToString::to_string).collect();
        rest_paths.sort_unstable();
        let group = ParamGroup::from_paths(rest_paths.clone());
        let mut not_finite = NotFinite::of(&group);
        visit_paths(&model, &mut not_finite);
        if let Some(path) = not_finite.found {
            return Err(ConvertError::NotFinite { path });
        }
        Ok(PackedModel {
            weights: self.weights,
            places: self.places,
            // With the values of weights that are quantized but not packed.
            rest: model.materialize().into_record_group(group),
            rest_paths,
        })
    }
}

/// Returns the dimension along which the rows of a packed weight lie: that of the output channels, or the
/// first one if these lie between others and all values share a scale.
fn row_axis(parameter: &Parameter) -> usize {
    match parameter.output_axis() {
        axis if axis + 1 == parameter.shape.len() => axis,
        _ => 0,
    }
}

fn place(parameter: Parameter, quantizer: WeightQuantizer, dtype: DType, row_axis: usize) -> Place {
    Place {
        weight: parameter.path,
        quantizer,
        shape: parameter.shape,
        dtype,
        row_axis,
        layer: parameter.container,
    }
}
