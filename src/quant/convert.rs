use core::fmt;
use std::collections::{BTreeMap, HashMap};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, Reparameterization},
    tensor::{Tensor, TensorData},
};

use super::{
    FakeQuant, GranularityError, PackedWeight, QatScheme, WeightQuantizer, inventory::Inventory,
};

/// The packed weights of a prepared model.
///
/// Packed from the latent weights: a weight that was already quantised has another `mean|W|`.
#[derive(Debug, Clone)]
pub struct PackedModel {
    /// Packed weights by path, such as `layers.0.weight`.
    pub weights: BTreeMap<String, PackedWeight>,
    output_axes: HashMap<String, usize>,
}

/// Why a model could not be converted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConvertError {
    /// No parameter of the model is fake-quantised.
    NotPrepared,
    /// A weight holds a NaN or infinity.
    NotFinite {
        /// Path of the parameter.
        path: String,
    },
    /// The scheme has codes other than -1, 0 and 1, which are not packed.
    NotTernary,
    /// A weight was trained with another quantiser than that of the scheme, or is not quantised in
    /// full yet.
    OtherScheme {
        /// Path of the parameter.
        path: String,
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
/// Every packed weight is compared with the value that the model trains with, bit for bit.
///
/// # Errors
///
/// If no parameter is fake-quantised, a weight is not finite, or the model was prepared with
/// another scheme.
pub fn convert<M: Module>(model: &M, scheme: &QatScheme) -> Result<PackedModel, ConvertError> {
    if !scheme.weight.is_ternary() {
        return Err(ConvertError::NotTernary);
    }
    let mut latent = Values::default();
    model.visit(&mut latent);
    let mut effective = Values::default();
    model.clone().materialize().visit(&mut effective);

    let mut packed = PackedModel {
        weights: BTreeMap::new(),
        output_axes: HashMap::new(),
    };
    for parameter in Inventory::of(model).parameters {
        if parameter.reparameterization.as_deref() != Some(FakeQuant::NAME) {
            continue;
        }
        let path = parameter.path.clone();
        let output_axis = parameter.output_axis();
        if let Err(source) = scheme.weight.groups(&parameter.shape, output_axis) {
            return Err(ConvertError::Granularity { path, source });
        }
        let base = latent.weights.remove(&path).expect("visited above");
        let trained = effective.weights.remove(&path).expect("visited above");
        if !base.all_finite() {
            return Err(ConvertError::NotFinite { path });
        }
        let steps = latent.steps.get(&path).cloned();
        let (weight, unpacked) = base.pack(scheme, output_axis, steps);
        if !equal(&unpacked, &trained.data()) {
            return Err(ConvertError::OtherScheme { path });
        }
        packed.output_axes.insert(path.clone(), output_axis);
        packed.weights.insert(path, weight);
    }
    match packed.weights.is_empty() {
        true => Err(ConvertError::NotPrepared),
        false => Ok(packed),
    }
}

/// Equal values; unlike their bits, the two zeros are equal.
fn equal(a: &TensorData, b: &TensorData) -> bool {
    a.dtype() == b.dtype() && a.iter::<f32>().eq(b.iter::<f32>())
}

impl PackedModel {
    /// Bytes of all codes and scales.
    pub fn num_bytes(&self) -> usize {
        self.weights.values().map(PackedWeight::num_bytes).sum()
    }

    /// The model with each packed weight in place of the parameter of the same path, as dense
    /// values `code * gamma`; other parameters stay.
    ///
    /// # Panics
    ///
    /// If a parameter has another shape than the weight that was packed.
    #[track_caller]
    pub fn unpack_into<M: Module>(&self, model: M) -> M {
        model.materialize().map(&mut Unpack {
            packed: self,
            path: Vec::new(),
        })
    }
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
        let dispatch = tensor.detach().into_dispatch();
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
        output_axis: usize,
        steps: Option<Tensor<2>>,
    ) -> (PackedWeight, TensorData) {
        with_tensor!(self, tensor => {
            let shape = tensor.dims();
            let packed = match (&scheme.weight, steps) {
                (WeightQuantizer::LearnedStep(config), Some(steps)) => {
                    let groups = scheme.weight.groups(&shape, output_axis).expect("checked above");
                    let quantized = config.quantize(tensor, steps, groups);
                    PackedWeight::from_quantized(quantized, &scheme.weight, groups, output_axis)
                }
                (quantizer, _) => PackedWeight::from_latent(tensor, quantizer, output_axis),
            };
            let unpacked = packed.unpack_like(shape, output_axis).into_data();
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
            let steps = param.val().detach().into_dispatch();
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

/// Puts unpacked weights in place of parameters.
struct Unpack<'a> {
    packed: &'a PackedModel,
    path: Vec<String>,
}

impl ModuleMapper for Unpack<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        match self.packed.weights.get(&path) {
            Some(weight) => {
                param.map(|value| weight.unpack_like(value.dims(), self.packed.output_axes[&path]))
            }
            None => param,
        }
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
            Self::OtherScheme { path } => write!(
                f,
                "parameter {path} was prepared with another scheme than the one given, or a \
                 schedule has not quantized it in full"
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
