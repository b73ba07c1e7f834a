use core::fmt;
use std::collections::{BTreeMap, HashMap};

use burn::{
    module::{Module, ModuleVisitor, Param, ParamGroup, ParamId, Reparameterization},
    tensor::{DType, Tensor, TensorData},
};

use super::{
    FakeQuant, GranularityError, PackedModel, PackedWeight, QatScheme, QuantControls,
    WeightQuantizer,
    control::ControlValues,
    inventory::{Inventory, Parameter},
    packed_model::{Parameters, Place},
};

/// Why a model could not be converted.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ConvertError {
    /// No parameter of the model is fake-quantised.
    NotPrepared,
    /// A parameter holds a NaN or infinity.
    NotFinite {
        /// Path of the parameter.
        path: String,
    },
    /// The scheme has codes other than -1, 0 and 1, which are not packed.
    NotTernary,
    /// A weight is not quantized in full yet.
    Lambda {
        /// Path of the parameter.
        path: String,
        /// Share of the quantized value that it trains with.
        lambda: f64,
    },
    /// A weight was trained with another quantizer than that of the scheme.
    OtherScheme {
        /// Path of the parameter.
        path: String,
        /// The quantizer of the scheme.
        expected: String,
        /// What the weight was trained with.
        found: String,
    },
    /// A weight has fewer than 2 or more than 5 dimensions.
    Rank {
        /// Path of the parameter.
        path: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The granularity of the scheme does not fit a weight.
    Granularity {
        /// Path of the parameter.
        path: String,
        /// What does not fit.
        source: GranularityError,
    },
}

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
    let mut latent = Values::default();
    model.visit(&mut latent);
    let mut effective = Values::default();
    model.clone().materialize().visit(&mut effective);

    let controls = QuantControls::of(model);
    let controls: HashMap<&str, &ControlValues> = controls.iter().collect();
    let (mut weights, mut places) = (BTreeMap::new(), BTreeMap::<String, Place>::new());
    let mut packed_ids: HashMap<ParamId, String> = HashMap::new();
    for parameter in Inventory::of(model).parameters {
        let Some(control) = quantizes(&parameter, &controls) else {
            continue;
        };
        let path = parameter.path.clone();
        if let Some(first) = packed_ids.get(&parameter.id) {
            let place = places[first].clone();
            places.insert(
                path,
                Place {
                    layer: parameter.container,
                    ..place
                },
            );
            continue;
        }
        check(&parameter, control, scheme)?;
        let trained = effective.weights.remove(&path);
        let (Some(base), Some(trained)) = (latent.weights.remove(&path), trained) else {
            let shape = parameter.shape;
            return Err(ConvertError::Rank { path, shape });
        };
        if !base.all_finite() {
            return Err(ConvertError::NotFinite { path });
        }
        let trained = trained.data();
        let (steps, dtype) = (latent.steps.remove(&path), trained.dtype());
        let axes = [parameter.output_axis(), row_axis(&parameter)];
        let (weight, unpacked) = base.pack(scheme, axes, steps);
        if !equal(&unpacked, &trained) {
            return Err(other_scheme(path, control, scheme));
        }
        packed_ids.insert(parameter.id, path.clone());
        places.insert(path.clone(), place(parameter, dtype, axes[1]));
        weights.insert(path, weight);
    }
    match weights.is_empty() {
        true => Err(ConvertError::NotPrepared),
        false => with_rest(model, weights, places, scheme),
    }
}

/// What controls a parameter that is to be packed.
fn quantizes<'a>(
    parameter: &Parameter,
    controls: &HashMap<&str, &'a ControlValues>,
) -> Option<&'a ControlValues> {
    if parameter.reparameterization.as_deref() != Some(FakeQuant::NAME) {
        return None;
    }
    let control = controls.get(parameter.path.as_str())?;
    (!control.excluded()).then_some(*control)
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

/// The packed model, with the tensors that are not packed.
fn with_rest<M: Module>(
    model: &M,
    weights: BTreeMap<String, PackedWeight>,
    places: BTreeMap<String, Place>,
    scheme: &QatScheme,
) -> Result<PackedModel, ConvertError> {
    let mut parameters = Parameters::default();
    model.visit(&mut parameters);
    let paths = parameters.plain_paths().map(ToString::to_string);
    let mut rest_paths: Vec<String> = paths.filter(|path| !places.contains_key(path)).collect();
    rest_paths.sort_unstable();
    let group = ParamGroup::from_paths(rest_paths.clone());
    let mut not_finite = NotFinite::of(&group);
    model.visit(&mut not_finite);
    if let Some(path) = not_finite.found {
        return Err(ConvertError::NotFinite { path });
    }
    Ok(PackedModel {
        weights,
        scheme: scheme.clone(),
        places,
        rest: model.valid().into_record_group(group),
        rest_paths,
    })
}

/// Equal values; unlike their bits, the two zeros are equal.
fn equal(a: &TensorData, b: &TensorData) -> bool {
    a.dtype() == b.dtype() && a.iter::<f32>().eq(b.iter::<f32>())
}

/// A float tensor of any rank; the ranks of the float weights that Burn's layers have.
#[derive(Debug)]
enum Value {
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

    fn data(&self) -> TensorData {
        with_tensor!(self, tensor => tensor.to_data())
    }

    fn all_finite(&self) -> bool {
        self.data().iter::<f32>().all(f32::is_finite)
    }

    /// The packed weight, and what it unpacks to.
    fn pack(
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
struct Values {
    weights: HashMap<String, Value>,
    steps: HashMap<String, Tensor<2>>,
    path: Vec<String>,
}

impl ModuleVisitor for Values {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let [path @ .., reparameterization, field] = &self.path[..]
            && (reparameterization.as_str(), field.as_str()) == (FakeQuant::NAME, "steps")
        {
            let steps = param.val().without_autodiff().into_dispatch();
            self.steps
                .insert(path.join("."), Tensor::from_dispatch(steps));
        } else if let Some(value) = Value::new(param.val()) {
            self.weights.insert(self.path.join("."), value);
        }
    }

    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }
}

/// Finds a float parameter of a group that holds a NaN or infinity.
struct NotFinite<'a> {
    group: &'a ParamGroup,
    path: Vec<String>,
    found: Option<String>,
}

impl<'a> NotFinite<'a> {
    fn of(group: &'a ParamGroup) -> Self {
        Self {
            group,
            path: Vec::new(),
            found: None,
        }
    }
}

impl ModuleVisitor for NotFinite<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        let looked_for = self.found.is_none() && self.group.matches(&param.id, Some(&path));
        if looked_for && !param.base().into_data().iter::<f32>().all(f32::is_finite) {
            self.found = Some(path);
        }
    }

    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPrepared => write!(
                f,
                "no parameter of the model is fake-quantized: prepare it first"
            ),
            Self::NotFinite { path } => write!(f, "parameter {path} holds a NaN or infinity"),
            Self::NotTernary => write!(
                f,
                "only codes -1, 0 and 1 are packed, and the scheme has others"
            ),
            Self::Lambda { path, lambda } => write!(
                f,
                "parameter {path} is not quantized in full: its lambda is {lambda}, expected 1"
            ),
            Self::OtherScheme {
                path,
                expected,
                found,
            } => write!(
                f,
                "parameter {path} was trained with another scheme: expected {expected}, found {found}"
            ),
            Self::Rank { path, shape } => write!(
                f,
                "parameter {path} has shape {shape:?}, expected 2 to 5 dimensions"
            ),
            Self::Granularity { path, source } => write!(f, "parameter {path}: {source}"),
        }
    }
}

impl core::error::Error for ConvertError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Granularity { source, .. } => Some(source),
            _ => None,
        }
    }
}
