//! The parameters of a language model by their paths, on their way to files.

use std::collections::BTreeMap;

use burn::{
    module::{Param, Reparameterization},
    nn::Linear,
    tensor::{DType, FloatDType, Tensor, TensorReadError},
};

use super::{CausalLm, architecture::Parameter, floats::Order};
use crate::{
    base::path_visitor::{ModulePath, PathVisitor, join, visit_paths},
    nn::{BitNetLm, PackedBitLinear},
    qat::{FakeQuant, PackedFourBit, PackedWeight},
    quant::FourBitConfig,
};

/// Values of a tensor, as they are or with its first two dimensions swapped.
type Read = Box<dyn Fn(Order) -> Result<Vec<f32>, TensorReadError>>;

/// A float parameter of a model, which is read from its device when it is asked for.
pub(super) struct FloatParameter {
    /// Shape of the tensor in the model.
    shape: Vec<usize>,
    order: Order,
    read: Read,
}

impl FloatParameter {
    /// Values in the layout of files.
    pub fn values(&self) -> Result<Vec<f32>, TensorReadError> {
        (self.read)(self.order)
    }

    /// The parameter with another number for each.
    pub fn map(self, number: impl Fn(f32) -> f32 + 'static) -> Self {
        let Self { shape, order, read } = self;
        let read = move |order| {
            let values = read(order)?;
            Ok(values.into_iter().map(&number).collect())
        };
        Self {
            shape,
            order,
            read: Box::new(read),
        }
    }

    /// The first value in the layout of files that is NaN or infinite. Nothing is transposed for it.
    pub fn first_not_finite(&self) -> Result<Option<(usize, f32)>, TensorReadError> {
        let values = (self.read)(Order::Kept)?;
        let of_file = |place: usize| match self.order {
            Order::Kept => place,
            Order::Transposed([rows, columns]) => place % rows * columns + place / rows,
        };
        let places = (0..values.len()).filter(|place| !values[*place].is_finite());
        let first = places.min_by_key(|place| of_file(*place));
        Ok(first.map(|place| (of_file(place), values[place])))
    }
}

/// The values of a parameter that is written.
#[allow(clippy::large_enum_variant, reason = "one is held at a time")]
pub(super) enum Values {
    Floats(FloatParameter),
    Packed(PackedWeight),
    FourBit(PackedFourBit),
}

/// The values of a model's parameters.
pub(super) struct ModelValues {
    floats: BTreeMap<String, FloatParameter>,
    /// Packed weights by the paths of their projections.
    packed: BTreeMap<String, PackedWeight>,
    /// Weights of 4 bits by the paths of their projections.
    four_bit: BTreeMap<String, PackedFourBit>,
}

impl ModelValues {
    /// The float parameters of a table that a model has, without packed weights and others whose values a
    /// reparameterization has. The weight of a packed projection that is not quantized is under the path
    /// that it has in other models.
    ///
    /// # Errors
    ///
    /// If the model has a parameter that is not in the table of its configuration, which a file would lose.
    pub fn floats(lm: &CausalLm, table: &[Parameter]) -> Result<Self, String> {
        let mut floats = Floats {
            table: by_path(table),
            found: BTreeMap::new(),
            unknown: None,
        };
        match lm {
            CausalLm::Full(lm) => visit_paths(lm, &mut floats),
            CausalLm::Qat(lm) => visit_paths(lm, &mut floats),
            CausalLm::Packed(lm) => visit_paths(lm, &mut floats),
            CausalLm::FourBit(lm) => visit_paths(lm, &mut floats),
        }
        match floats.unknown {
            None => Ok(Self {
                floats: floats.found,
                packed: BTreeMap::new(),
                four_bit: BTreeMap::new(),
            }),
            Some(path) => Err(format!(
                "the model has {path}, which its configuration does not have"
            )),
        }
    }

    /// The values with the packed weights of a model; latent ones are packed. A model in full precision and one
    /// of 4 bits have none.
    pub fn with_packed(self, lm: &CausalLm) -> Self {
        let weights = |lm: &BitNetLm<PackedBitLinear>| {
            let packed = lm.projections().filter(|(_, p)| !p.is_full_precision());
            packed.map(|(path, p)| (path, p.weight.clone())).collect()
        };
        let packed = match lm {
            CausalLm::Full(_) | CausalLm::FourBit(_) => BTreeMap::new(),
            CausalLm::Qat(lm) => weights(&lm.pack()),
            CausalLm::Packed(lm) => weights(lm),
        };
        Self { packed, ..self }
    }

    /// The values with the weights of 4 bits of a model; those of one in full precision are quantized, in the type
    /// `dtype`. Other models have none.
    pub fn with_four_bit(self, lm: &CausalLm, config: &FourBitConfig, dtype: FloatDType) -> Self {
        let quantized = |linear: &Linear| {
            let matrix = linear.weight.base().without_autodiff().transpose();
            PackedFourBit::from_matrix(matrix.cast(dtype), config)
        };
        let four_bit = match lm {
            CausalLm::Full(lm) => {
                // Others have adapters, which are not in the values of a file.
                let plain = lm.projections();
                let plain =
                    plain.filter(|(path, _)| self.floats.contains_key(&format!("{path}.weight")));
                plain.map(|(path, p)| (path, quantized(p))).collect()
            }
            CausalLm::FourBit(lm) => {
                let quantized = lm.projections().filter(|(_, p)| !p.is_full_precision());
                quantized
                    .map(|(path, p)| (path, p.weight.clone()))
                    .collect()
            }
            CausalLm::Qat(_) | CausalLm::Packed(_) => BTreeMap::new(),
        };
        Self { four_bit, ..self }
    }

    /// The packed weight of a module that was not taken.
    pub fn packed(&self, module: &str) -> Option<&PackedWeight> {
        self.packed.get(module)
    }

    /// The float values of a parameter, if the model has them.
    pub fn float(&self, parameter: &Parameter) -> Option<&FloatParameter> {
        self.floats.get(&parameter.path)
    }

    /// Takes the values of a parameter, packed ones first, if the model has them in the shape of the table.
    pub fn take(&mut self, parameter: &Parameter) -> Option<Values> {
        if parameter.is_projection()
            && let Some(weight) = self.packed.remove(parameter.module())
        {
            let fits = weight.dims()[..] == parameter.shape;
            return fits.then_some(Values::Packed(weight));
        }
        if parameter.is_projection()
            && let Some(weight) = self.four_bit.remove(parameter.module())
        {
            let fits = weight.dims()[..] == parameter.shape;
            return fits.then_some(Values::FourBit(weight));
        }
        let float = self.floats.remove(&parameter.path)?;
        let fits = float.shape == parameter.tensor_shape();
        fits.then_some(Values::Floats(float))
    }
}

pub(super) fn by_path(table: &[Parameter]) -> BTreeMap<&str, &Parameter> {
    table.iter().map(|p| (p.path.as_str(), p)).collect()
}

struct Floats<'a> {
    table: BTreeMap<&'a str, &'a Parameter>,
    found: BTreeMap<String, FloatParameter>,
    /// The first parameter of a layer that is not in the table.
    unknown: Option<String>,
}

/// Names of the parameters of layers and prompts, beside which quantizers have others.
const OF_LAYERS: [&str; 5] = ["weight", "bias", "gamma", "float_weight", "embedding"];

impl PathVisitor for Floats<'_> {
    fn enter(&mut self, path: &ModulePath) {
        // Called after the parameter, whose own values are placeholders then, or miss an adapter.
        let name = path.reparameterization();
        if name.is_some_and(|name| name != FakeQuant::NAME) {
            let fields = path.fields();
            self.found.remove(&join(&fields[..fields.len() - 1]));
        }
    }

    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        let name = path.fields().last().map_or("", |field| &field.name);
        let container = path.fields().last().map(|field| field.container.as_str());
        let is_of_layer = OF_LAYERS.contains(&name) || container == Some("LowRankProduct");
        let is_of_layer = is_of_layer && !path.is_reparameterizing();
        let path = path.join();
        let path = match path.strip_suffix(".float_weight") {
            Some(projection) => format!("{projection}.weight"),
            None => path,
        };
        let Some(parameter) = self.table.get(path.as_str()) else {
            if is_of_layer {
                self.unknown.get_or_insert(path);
            }
            return;
        };
        let tensor = param.base().without_autodiff();
        let shape = tensor.dims().to_vec();
        let read = move |order| {
            let tensor = match order {
                Order::Transposed(_) => tensor.clone().swap_dims(0, 1),
                Order::Kept => tensor.clone(),
            };
            let data = tensor.try_into_data_dtype(DType::F32)?;
            Ok(data.try_to_vec::<f32>()?)
        };
        let float = FloatParameter {
            shape,
            order: parameter.order(),
            read: Box::new(read),
        };
        self.found.insert(path, float);
    }
}
