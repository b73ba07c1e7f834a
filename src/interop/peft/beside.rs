//! Biases and modules as a whole that train beside adapters.

use std::collections::BTreeMap;

use burn::{module::Param, tensor::Tensor};

use super::{
    PeftFileError, prefix,
    reader::Reader,
    tensors::{Written, written},
};
use crate::{
    base::path_visitor::{ModulePath, PathMapper, PathVisitor, map_paths, visit_paths},
    nn::BitNetLm,
    peft::{AdaptedLinear, AdapterBase, PeftConfig, TrainedBeside},
};

/// Adds the parameters that train beside an adapter to the tensors of a file.
pub(super) fn add<P: AdapterBase>(
    tensors: &mut BTreeMap<String, Written>,
    lm: &BitNetLm<AdaptedLinear<P>>,
    name: &str,
    config: &PeftConfig,
) -> Result<(), PeftFileError> {
    let mut writer = Writer {
        beside: TrainedBeside::of(lm, name, config),
        prefix: prefix(config),
        tensors,
        result: Ok(()),
    };
    visit_paths(lm, &mut writer);
    writer.result
}

/// Replaces the parameters that train beside an adapter with those of a file.
pub(super) fn fill<P: AdapterBase>(
    reader: &mut Reader,
    lm: BitNetLm<AdaptedLinear<P>>,
    name: &str,
    config: &PeftConfig,
) -> BitNetLm<AdaptedLinear<P>> {
    let beside = TrainedBeside::of(&lm, name, config);
    map_paths(lm, &mut Filler { beside, reader })
}

/// Returns whether files have a parameter as `[d_output, d_input]`, and modules as its transpose.
fn is_transposed<const D: usize>(path: &ModulePath) -> bool {
    let container = path.fields().last().map(|field| field.container.as_str());
    D == 2 && container != Some("Embedding")
}

struct Writer<'a> {
    beside: TrainedBeside,
    /// Prefix of the names in the file.
    prefix: &'static str,
    tensors: &'a mut BTreeMap<String, Written>,
    /// The first error, as a visitor returns none.
    result: Result<(), PeftFileError>,
}

impl Writer<'_> {
    fn add<const D: usize>(
        &mut self,
        path: &ModulePath,
        param: &Param<Tensor<D>>,
    ) -> Result<(), PeftFileError> {
        let joined = path.join();
        let Some(parameter) = self.beside.find(&joined) else {
            return Ok(());
        };
        let name = self.beside.file_name(&parameter);
        let name = name.filter(|_| !path.is_reparameterizing());
        let name = name.ok_or(PeftFileError::NoName {
            path: joined.clone(),
        })?;
        let value = param.base().without_autodiff();
        let value = match is_transposed::<D>(path) {
            true => value.swap_dims(0, 1),
            false => value,
        };
        let name = format!("{}{name}", self.prefix);
        self.tensors.insert(name, written(value)?);
        Ok(())
    }
}

impl PathVisitor for Writer<'_> {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        if self.result.is_ok() {
            self.result = self.add(path, param);
        }
    }
}

struct Filler<'a> {
    beside: TrainedBeside,
    reader: &'a mut Reader,
}

impl PathMapper for Filler<'_> {
    fn map_float<const D: usize>(
        &mut self,
        path: &ModulePath,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        let joined = path.join();
        let parameter = self.beside.find(&joined);
        let Some(name) = parameter.and_then(|parameter| self.beside.file_name(&parameter)) else {
            return param;
        };
        let mut shape: [usize; D] = param.shape().dims();
        let is_transposed = is_transposed::<D>(path);
        if is_transposed {
            shape.swap(0, 1);
        }
        let Some(value) = self.reader.take(name, shape, &param.device()) else {
            return param;
        };
        let value = match is_transposed {
            true => value.swap_dims(0, 1),
            false => value,
        };
        param.map(|old| {
            value
                .cast(old.dtype())
                .set_require_grad(old.is_require_grad())
        })
    }
}
