mod error;

use std::collections::{BTreeMap, HashMap};

use burn::{
    module::{Module, Param, ParamGroup, ParamId, Reparameterization},
    tensor::Tensor,
};

use super::{
    FakeQuant, PackedModel, PackedWeight,
    packed_model::{Parameters, Place},
    parameters::{Inventory, Parameter, Role},
};
use crate::{
    base::path_visitor::{ModulePath, PathVisitor, visit_paths},
    quant::WeightQuantizer,
};

pub use error::ConvertError;

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
    let weights = weights_to_pack(&model)?;
    let mut packing = Packing::new(weights, &model);
    visit_paths(&model, &mut packing);
    packing.result?;
    Ok(with_rest(model, packing.weights, packing.places))
}

/// A latent weight to pack.
struct Latent {
    parameter: Parameter,
    /// Path of its quantizer.
    path: String,
    quantizer: WeightQuantizer,
}

/// Returns the weights to pack by their paths.
fn weights_to_pack<M: Module>(model: &M) -> Result<HashMap<String, Latent>, ConvertError> {
    let mut weights = HashMap::new();
    let mut is_quantized = false;
    for parameter in Inventory::of(model).parameters {
        if let Some(name) = &parameter.reparameterization
            && name != FakeQuant::NAME
        {
            let (path, name) = (parameter.path, name.clone());
            return Err(ConvertError::Reparameterized { path, name });
        }
        if let Some(latent) = latent(parameter)? {
            is_quantized = true;
            if latent.quantizer.is_ternary() {
                weights.insert(latent.parameter.path.clone(), latent);
            }
        }
    }
    match (is_quantized, weights.is_empty()) {
        (false, _) => Err(ConvertError::NotPrepared),
        (true, true) => Err(ConvertError::NotTernary),
        (true, false) => Ok(weights),
    }
}

/// Returns a parameter that is quantized, with its quantizer.
fn latent(parameter: Parameter) -> Result<Option<Latent>, ConvertError> {
    let Role::Latent { quantizer, control } = &parameter.role else {
        return Ok(None);
    };
    let (state, path) = (control.state(), quantizer.clone());
    let Some(weight) = control.weight() else {
        return Ok(None);
    };
    // A weight without values cannot be packed.
    if state.excluded || parameter.shape.contains(&0) {
        return Ok(None);
    }
    if state.lambda != 1.0 {
        return Err(ConvertError::Lambda {
            path: parameter.path,
            lambda: f64::from(state.lambda),
        });
    }
    let quantizer = weight.active_quantizer(&state);
    Ok(Some(Latent {
        parameter,
        path,
        quantizer,
    }))
}

/// Packs the weights of a model, and checks its other parameters.
struct Packing {
    latent: HashMap<String, Latent>,
    scales: TrainedScales,
    weights: BTreeMap<String, PackedWeight>,
    places: BTreeMap<String, Place>,
    /// First path of each parameter.
    first: HashMap<ParamId, String>,
    result: Result<(), ConvertError>,
}

impl Packing {
    fn new<M: Module>(latent: HashMap<String, Latent>, model: &M) -> Self {
        let mut scales = TrainedScales::default();
        visit_paths(model, &mut scales);
        Self {
            latent,
            scales,
            weights: BTreeMap::new(),
            places: BTreeMap::new(),
            first: HashMap::new(),
            result: Ok(()),
        }
    }

    fn add<const D: usize>(
        &mut self,
        latent: Latent,
        values: Tensor<D>,
    ) -> Result<(), ConvertError> {
        let Latent {
            parameter,
            path: quantizer_path,
            quantizer,
        } = latent;
        let path = parameter.path.clone();
        let groups = quantizer.groups(&parameter.shape, parameter.output_axis());
        let groups = groups.map_err(|source| ConvertError::Granularity {
            path: path.clone(),
            source,
        })?;
        if !all_finite(&values) {
            return Err(ConvertError::NotFinite { path });
        }
        let row_axis = row_axis(&parameter);
        let dtype = values.dtype();
        let quantized = match (quantizer.as_learned_step(), self.scales.of(&quantizer_path)) {
            (Some(config), Some(scale)) => config.quantize(values, scale, groups),
            _ => quantizer.quantize(values, groups),
        };
        let weight = PackedWeight::from_quantized(quantized, &quantizer, groups, row_axis);
        // The places of a shared parameter may differ, as Burn's optimizers update only the first one.
        let first = self.first.entry(parameter.id).or_insert(path.clone());
        let is_shared = *first != path && weight.equals(&self.weights[first]);
        let place = Place {
            weight: if is_shared { first } else { &path }.clone(),
            quantizer,
            shape: parameter.shape,
            dtype,
            row_axis,
            layer: parameter.container,
        };
        if !is_shared {
            self.weights.insert(path.clone(), weight);
        }
        self.places.insert(path, place);
        Ok(())
    }
}

impl PathVisitor for Packing {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        if self.result.is_err() {
            return;
        }
        let values = param.base().without_autodiff();
        self.result = match self.latent.remove(&path.join()) {
            Some(latent) => self.add(latent, values),
            None if path.is_reparameterizing() || all_finite(&values) => Ok(()),
            None => Err(ConvertError::NotFinite { path: path.join() }),
        };
    }
}

/// Float matrices of a model by their paths, among them the trained scales of quantizers.
#[derive(Default)]
struct TrainedScales(HashMap<String, Tensor<2>>);

impl TrainedScales {
    /// Returns the trained scales of the quantizer at a path.
    fn of(&self, quantizer: &str) -> Option<Tensor<2>> {
        self.0.get(&format!("{quantizer}.scale")).cloned()
    }
}

impl PathVisitor for TrainedScales {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        let is_scale = path.fields().last().is_some_and(|f| f.name == "scale");
        if let (true, &[outer, inner]) = (is_scale, &param.lazy_shape()[..]) {
            let scale = param.base().without_autodiff();
            self.0.insert(path.join(), scale.reshape([outer, inner]));
        }
    }
}

/// Returns the packed model, with the tensors that are not packed.
fn with_rest<M: Module>(
    model: M,
    weights: BTreeMap<String, PackedWeight>,
    places: BTreeMap<String, Place>,
) -> PackedModel {
    let mut parameters = Parameters::default();
    visit_paths(&model, &mut parameters);
    let paths = parameters.plain_paths();
    let rest = paths.filter(|path| !places.contains_key(*path));
    let mut rest_paths: Vec<String> = rest.map(ToString::to_string).collect();
    rest_paths.sort_unstable();
    let group = ParamGroup::from_paths(rest_paths.clone());
    PackedModel {
        weights,
        places,
        // With the values of weights that are quantized but not packed.
        rest: model.materialize().into_record_group(group),
        rest_paths,
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

fn all_finite<const D: usize>(values: &Tensor<D>) -> bool {
    values.to_data().iter::<f32>().all(f32::is_finite)
}
