mod error;
mod values;

use std::collections::{BTreeMap, HashMap};

use burn::{
    module::{Module, ParamGroup, ParamId, Reparameterization},
    tensor::DType,
};

use super::{
    FakeQuant, PackedModel, PackedWeight, QuantControls,
    control::ControlValues,
    packed_model::{Parameters, Place},
    parameters::{Inventory, Parameter},
};
use crate::{base::path_visitor::visit_paths, quant::QatScheme};

pub use error::ConvertError;
use values::{NotFinite, Values, equal};

/// Packs the latent weights of a model that [`Prepare`](super::Prepare) prepared with `scheme`.
///
/// Every packed weight is compared with the value that the model trains with, bit for bit. A shared
/// parameter is packed once and stays shared; weights that are
/// [excluded](super::QuantControls::set_excluded) from quantization stay in float, as all other parameters.
///
/// # Errors
///
/// If no parameter is fake-quantised or one of them not in full, a parameter is not finite, or the model was
/// prepared with another scheme.
pub fn convert<M: Module>(model: &M, scheme: &QatScheme) -> Result<PackedModel, ConvertError> {
    if !scheme.weight.is_ternary() {
        return Err(ConvertError::NotTernary);
    }
    let controls = QuantControls::of(model);
    let mut packing = Packing::of(model, scheme);
    for parameter in Inventory::of(model).parameters {
        if let Some(name) = &parameter.reparameterization
            && name != FakeQuant::NAME
        {
            let (path, name) = (parameter.path, name.clone());
            return Err(ConvertError::Reparameterized { path, name });
        }
        if let Some(control) = quantizes(&parameter, &controls) {
            packing.add(parameter, control)?;
        }
    }
    match packing.weights.is_empty() {
        true => Err(ConvertError::NotPrepared),
        false => packing.with_rest(model),
    }
}

/// The weights of a model that are packed so far.
struct Packing<'a> {
    scheme: &'a QatScheme,
    /// What is trained.
    latent: Values,
    /// What the model computes with.
    effective: Values,
    weights: BTreeMap<String, PackedWeight>,
    places: BTreeMap<String, Place>,
    /// First paths of the parameters.
    first: HashMap<ParamId, String>,
}

impl<'a> Packing<'a> {
    fn of<M: Module>(model: &M, scheme: &'a QatScheme) -> Self {
        // As it is evaluated: without gradients, and so without the noise of training.
        let model = model.valid();
        let (mut latent, mut effective) = (Values::default(), Values::default());
        visit_paths(&model, &mut latent);
        visit_paths(&model.materialize(), &mut effective);
        Self {
            scheme,
            latent,
            effective,
            weights: BTreeMap::new(),
            places: BTreeMap::new(),
            first: HashMap::new(),
        }
    }

    fn add(&mut self, parameter: Parameter, control: &ControlValues) -> Result<(), ConvertError> {
        let path = parameter.path.clone();
        if let Some(place) = self.shared(&parameter) {
            self.places.insert(path, place);
            return Ok(());
        }
        check(&parameter, control, self.scheme)?;
        let base = self.latent.weights.remove(&path);
        let trained = self.effective.weights.remove(&path);
        let (Some(base), Some(trained)) = (base, trained) else {
            let shape = parameter.shape;
            return Err(ConvertError::Rank { path, shape });
        };
        if !base.all_finite() {
            return Err(ConvertError::NotFinite { path });
        }
        let trained = trained.data();
        let axes = [parameter.output_axis(), row_axis(&parameter)];
        let steps = self.latent.steps.remove(&path);
        let (weight, unpacked) = base.pack(self.scheme, axes, steps);
        if !equal(&unpacked, &trained) {
            return Err(other_scheme(path, control, self.scheme));
        }
        self.first.entry(parameter.id).or_insert(path.clone());
        let place = place(parameter, trained.dtype(), axes[1]);
        self.places.insert(path.clone(), place);
        self.weights.insert(path, weight);
        Ok(())
    }

    /// The place of a parameter whose weight is packed already. The places of a shared parameter may have
    /// parted, as Burn's optimizers step the first alone.
    fn shared(&self, parameter: &Parameter) -> Option<Place> {
        let place = &self.places[self.first.get(&parameter.id)?];
        let own = self.effective.weights.get(&parameter.path)?;
        let same = own.is_packed_as(&self.weights[&place.weight], place.row_axis);
        let layer = parameter.container.clone();
        same.then(|| Place {
            layer,
            ..place.clone()
        })
    }

    /// The packed model, with the tensors that are not packed.
    fn with_rest<M: Module>(self, model: &M) -> Result<PackedModel, ConvertError> {
        let mut parameters = Parameters::default();
        visit_paths(model, &mut parameters);
        let paths = parameters.plain_paths();
        let rest = paths.filter(|path| !self.places.contains_key(*path));
        let mut rest_paths: Vec<String> = rest.map(ToString::to_string).collect();
        rest_paths.sort_unstable();
        let group = ParamGroup::from_paths(rest_paths.clone());
        let mut not_finite = NotFinite::of(&group);
        visit_paths(model, &mut not_finite);
        if let Some(path) = not_finite.found {
            return Err(ConvertError::NotFinite { path });
        }
        Ok(PackedModel {
            weights: self.weights,
            scheme: self.scheme.clone(),
            places: self.places,
            rest: model.valid().into_record_group(group),
            rest_paths,
        })
    }
}

/// What controls a parameter that is to be packed.
fn quantizes<'a>(parameter: &Parameter, controls: &'a QuantControls) -> Option<&'a ControlValues> {
    if parameter.reparameterization.as_deref() != Some(FakeQuant::NAME) {
        return None;
    }
    // A weight without values has nothing to pack.
    if parameter.shape.contains(&0) {
        return None;
    }
    let (_, control) = controls.iter().find(|(path, _)| *path == parameter.path)?;
    (!control.excluded()).then_some(control)
}

/// The dimension along which the rows of a packed weight lie: that of the output channels, or the first where
/// these lie between others and all values share a scale.
fn row_axis(parameter: &Parameter) -> usize {
    match parameter.output_axis() {
        axis if axis + 1 == parameter.shape.len() => axis,
        _ => 0,
    }
}

fn place(parameter: Parameter, dtype: DType, row_axis: usize) -> Place {
    Place {
        weight: parameter.path,
        shape: parameter.shape,
        dtype,
        row_axis,
        layer: parameter.container,
    }
}

/// Checks what can be known of a weight before it is quantized.
fn check(
    parameter: &Parameter,
    control: &ControlValues,
    scheme: &QatScheme,
) -> Result<(), ConvertError> {
    let path = parameter.path.clone();
    let quantizer = &scheme.weight;
    if let Err(source) = quantizer.groups(&parameter.shape, parameter.output_axis()) {
        return Err(ConvertError::Granularity { path, source });
    }
    let own = control.weight.as_ref().map(|weight| &weight.quantizer);
    if own != Some(quantizer) {
        return Err(other_scheme(path, control, scheme));
    }
    match control.lambda() {
        1.0 => Ok(()),
        lambda => Err(ConvertError::Lambda {
            path,
            lambda: f64::from(lambda),
        }),
    }
}

fn other_scheme(path: String, control: &ControlValues, scheme: &QatScheme) -> ConvertError {
    let own = control.weight.as_ref();
    let mut found = own.map_or_else(String::new, |weight| weight.quantizer.to_string());
    if let Some(width) = control.width() {
        found += &format!(", set to {width}");
    }
    if control.per_channel() {
        found += ", set to a scale per channel";
    }
    ConvertError::OtherScheme {
        path,
        expected: scheme.weight.to_string(),
        found,
    }
}
