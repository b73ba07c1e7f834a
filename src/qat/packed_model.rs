mod error;
mod file;
mod load;

use core::fmt;
use std::collections::BTreeMap;

use burn::{
    module::{Module, Param},
    store::ModuleRecord,
    tensor::{DType, Tensor},
};
use serde::{Deserialize, Serialize};

use super::PackedWeight;
use crate::{
    base::path_visitor::{ModulePath, PathMapper, map_paths},
    quant::WeightQuantizer,
};

pub use error::PackedModelError;
pub(super) use load::Parameters;

/// A model with packed weights: 2 bits for each quantized weight, and the other tensors unchanged. It has
/// no latent weights.
///
/// [`convert`](super::convert) creates it from a trained model, [`save`](Self::save) and
/// [`load`](Self::load) store it in one file, and [`load_into`](Self::load_into) returns a model of stock
/// Burn layers that computes with it.
///
/// # Example
///
/// ```
/// use bitnet_burn::{qat::{PackedModel, Prepare, convert}, quant::QatScheme};
/// use burn::{module::Module, nn::{Linear, LinearConfig, Relu}, tensor::{Device, Tensor}};
///
/// #[derive(Module, Debug)]
/// struct Mlp {
///     hidden: Linear,
///     head: Linear,
/// }
///
/// impl Mlp {
///     fn new(device: &Device) -> Self {
///         let hidden = LinearConfig::new(64, 32).init(device);
///         Self { hidden, head: LinearConfig::new(32, 4).init(device) }
///     }
///
///     fn forward(&self, x: Tensor<2>) -> Tensor<2> {
///         self.head.forward(Relu::new().forward(self.hidden.forward(x)))
///     }
/// }
///
/// let device = Device::default();
/// let model = Prepare::new(QatScheme::weight_only()).apply(Mlp::new(&device))?.model;
/// // .. train it, then:
/// let path = std::env::temp_dir().join("mlp.bpk");
/// convert(&model)?.save(&path)?;
///
/// // In the program that uses it:
/// let packed = PackedModel::load(&path, &device)?;
/// println!("{packed}");
/// let deployed = packed.load_into(Mlp::new(&device))?;
/// let x = Tensor::<2>::ones([1, 64], &device);
/// assert_eq!(deployed.forward(x.clone()).into_data(), model.forward(x).into_data());
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PackedModel {
    /// Packed weights by path, such as `layers.0.weight`; a shared one under its first path.
    pub weights: BTreeMap<String, PackedWeight>,
    /// Mapping of each path of the model with a packed weight to that weight.
    pub(super) places: BTreeMap<String, Place>,
    /// The other tensors.
    pub(super) rest: ModuleRecord,
    /// Their paths.
    pub(super) rest_paths: Vec<String>,
}

/// A parameter of the model that has a packed weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// Path of the packed weight, which differs if the parameter is shared.
    pub weight: String,
    pub quantizer: WeightQuantizer,
    pub shape: Vec<usize>,
    pub dtype: DType,
    /// Dimension along which the rows of the packed weight lie.
    pub row_axis: usize,
    /// Type of the layer that holds it.
    pub layer: String,
}

/// Layers that [`PackedForward`](crate::nn::PackedForward) computes from packed weights.
const PACKED_LAYERS: [&str; 5] = ["BitLinear", "Linear", "Embedding", "Conv1d", "Conv2d"];

impl PackedModel {
    /// Returns the quantizer that the weight of a path was trained with.
    pub fn quantizer(&self, path: &str) -> Option<&WeightQuantizer> {
        self.places.get(path).map(|place| &place.quantizer)
    }

    /// Returns the bytes of all codes and scales.
    pub fn num_bytes(&self) -> usize {
        self.weights.values().map(PackedWeight::num_bytes).sum()
    }

    /// Returns the paths of the quantized weights whose layers always compute with a temporary unpacked copy:
    /// those of other layers than `BitLinear`, `Linear`, `Embedding`, `Conv1d` and `Conv2d`.
    pub fn unpacked_in_use(&self) -> impl Iterator<Item = &str> {
        let places = self.places.iter();
        let others = places.filter(|(_, place)| !PACKED_LAYERS.contains(&place.layer.as_str()));
        others.map(|(path, _)| path.as_str())
    }

    /// Returns the model with each packed weight in place of the parameter of the same path, as dense values
    /// `code * gamma`; other parameters are unchanged.
    ///
    /// # Panics
    ///
    /// If a parameter has another shape than the packed weight, or a layer quantizes its weight itself, such as
    /// `BitLinear`, which would quantize the values once more.
    #[track_caller]
    pub fn unpack_into<M: Module>(&self, model: M) -> M {
        let by_layer = self
            .places
            .iter()
            .find(|(_, place)| place.layer == "BitLinear");
        if let Some((path, _)) = by_layer {
            panic!(
                "{path} is quantized by its layer: take `load_into`, which gives it packed codes"
            );
        }
        map_paths(model.materialize(), &mut Unpack(self))
    }

    fn weight_at(&self, path: &str) -> Option<(&PackedWeight, &Place)> {
        let place = self.places.get(path)?;
        Some((&self.weights[&place.weight], place))
    }
}

impl fmt::Display for PackedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, place) in &self.places {
            let Place { shape, layer, .. } = place;
            write!(f, "{path}: {layer} {shape:?}, ")?;
            match place.weight == *path {
                true => write!(f, "{} bytes", self.weights[path].num_bytes())?,
                false => write!(f, "shared with {}", place.weight)?,
            }
            match PACKED_LAYERS.contains(&layer.as_str()) {
                true => writeln!(f)?,
                false => writeln!(f, ", unpacked in each pass")?,
            }
        }
        let (weights, bytes) = (self.weights.len(), self.num_bytes());
        let rest = self.rest_paths.len();
        write!(
            f,
            "{weights} packed weights of {bytes} bytes, {rest} other tensors"
        )
    }
}

/// Replaces parameters by unpacked weights.
struct Unpack<'a>(&'a PackedModel);

impl PathMapper for Unpack<'_> {
    fn map_float<const D: usize>(
        &mut self,
        path: &ModulePath,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        match self.0.weight_at(&path.join()) {
            Some((weight, place)) => {
                let unpacked = |value: Tensor<D>| {
                    let weight = weight.unpack_like(value.dims(), place.row_axis);
                    weight.to_device(&value.device())
                };
                param.map(unpacked)
            }
            None => param,
        }
    }
}
