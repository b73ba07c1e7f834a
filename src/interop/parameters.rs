//! The float parameters of a language model by their paths, on their way to files and back.

use std::collections::BTreeMap;

use burn::{
    module::Param,
    nn::Linear,
    tensor::{DType, Tensor, TensorData, TensorReadError},
};

use super::CausalLm;
use crate::{
    base::path_visitor::{ModulePath, PathMapper, PathVisitor, map_paths, visit_paths},
    nn::{BitNetLm, BitNetLmConfig},
};

/// Bytes that the table of positions may take even where the weights take less.
const POSITION_BYTES: u64 = 1 << 26;

/// Fails with the bytes of the table of positions, if it takes more than the weights of a file do.
pub(super) fn check_positions(config: &BitNetLmConfig, weights: u64) -> Result<(), u128> {
    let d_rotary = config.rotary().rotary_size();
    let table = config.max_positions as u128 * d_rotary as u128 * 4;
    match table > u128::from(weights.max(POSITION_BYTES)) {
        true => Err(table),
        false => Ok(()),
    }
}

/// A value that no weight has.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name}: value {place} is {value}, where a finite number is expected")]
pub(super) struct NotFinite {
    /// Name of the tensor.
    pub name: String,
    /// Number of the value in the layout of the file.
    pub place: usize,
    /// NaN, or an infinity.
    pub value: f32,
}

/// Fails with the first of the values that is NaN or infinite: a model with such a weight computes
/// nothing, and a format with scales would hide it.
pub(super) fn check_finite(name: &str, values: &[f32]) -> Result<(), NotFinite> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(place) => Err(NotFinite {
            name: name.to_string(),
            place,
            value: values[place],
        }),
    }
}

/// Reads the values of a parameter from its device.
type Read = Box<dyn Fn() -> Result<Vec<f32>, TensorReadError>>;

/// A parameter in the layout of files, `[d_output, d_input]` for linear maps.
pub(super) struct FloatParameter {
    pub shape: Vec<usize>,
    pub read: Read,
}

/// Whether the parameter is the weight of a linear map, which files hold transposed.
pub(super) fn is_linear(path: &str) -> bool {
    path.ends_with("_proj.weight") || path == "lm_head.weight"
}

/// All float parameters of a model by their paths, such as `model.norm.gamma`; those of packed weights
/// are none. The weight of a packed projection that is not quantised is under the path that it has in other
/// models.
pub(super) fn floats(lm: &CausalLm) -> BTreeMap<String, FloatParameter> {
    let mut floats = Floats(BTreeMap::new());
    match lm {
        CausalLm::Full(lm) => visit_paths(lm, &mut floats),
        CausalLm::Qat(lm) => visit_paths(lm, &mut floats),
        CausalLm::Packed(lm) => visit_paths(lm, &mut floats),
    }
    floats.0
}

struct Floats(BTreeMap<String, FloatParameter>);

impl PathVisitor for Floats {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        let path = path.join();
        let path = match path.strip_suffix("_proj.float_weight") {
            Some(projection) => format!("{projection}_proj.weight"),
            None => path,
        };
        let tensor = param.base().without_autodiff();
        let tensor = match is_linear(&path) && D == 2 {
            true => tensor.swap_dims(0, 1),
            false => tensor,
        };
        let shape = tensor.dims().to_vec();
        let read = move || {
            let data = tensor.clone().try_into_data_dtype(DType::F32)?;
            Ok(data.try_to_vec::<f32>()?)
        };
        let read = Box::new(read);
        self.0.insert(path, FloatParameter { shape, read });
    }
}

/// The model with the parameters that `read` has for a path and a shape, in the layout of the model.
/// Others stay as they are.
pub(super) fn with_floats(
    lm: BitNetLm<Linear>,
    read: impl FnMut(&str, &[usize]) -> Option<TensorData>,
) -> BitNetLm<Linear> {
    map_paths(lm, &mut WithFloats(read))
}

struct WithFloats<F>(F);

impl<F: FnMut(&str, &[usize]) -> Option<TensorData>> PathMapper for WithFloats<F> {
    fn map_float<const D: usize>(
        &mut self,
        path: &ModulePath,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        // A parameter is made when it is first asked for, which its shape is not.
        let data = (self.0)(&path.join(), &param.lazy_shape());
        let Some(data) = data else {
            return param;
        };
        let dtype = data.dtype();
        let tensor = Tensor::from_data(data, (&param.lazy_device(), dtype));
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
}
