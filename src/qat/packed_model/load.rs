//! Loading of a packed model into a model of stock layers.

use std::collections::{BTreeMap, BTreeSet};

use burn::{
    module::{Module, Param, Reparameterizer},
    tensor::{Bool, Int, Tensor},
};

use super::{PackedModel, PackedModelError, Place};
use crate::{
    base::path_visitor::{ModulePath, PathVisitor, join, visit_paths},
    qat::packed_parameter::{PackedParameter, placeholder},
};

impl PackedModel {
    /// Returns a model of the same layers that computes with the packed weights, and holds the other
    /// parameters of this model. Uninitialized weights of `model` are never allocated: a new model takes no
    /// memory for them.
    ///
    /// A quantized parameter holds only its codes and scales. The `forward` of a stock layer unpacks it for
    /// the pass, so that only one layer at a time has its weight in float. The output is that of the trained
    /// layer, bit for bit. [`PackedForward`](crate::nn::PackedForward) does not unpack it as a whole.
    ///
    /// # Errors
    ///
    /// If the model has other parameters or shapes, or is prepared for training.
    pub fn load_into<M: Module>(&self, model: M) -> Result<M, PackedModelError> {
        let mut found = Parameters::expecting(&self.places);
        visit_paths(&model, &mut found);
        self.check(found)?;
        let rest = self.rest.clone().allow_partial(true);
        let model = model.try_load_record(rest);
        let model = model.map_err(PackedModelError::Record)?;
        Ok(model.apply_reparameterization(Attach(self)))
    }

    fn check(&self, found: Parameters<'_>) -> Result<(), PackedModelError> {
        if let Some((path, name)) = found.reparameterized {
            return Err(PackedModelError::Reparameterized { path, name });
        }
        let own = self.places.keys().chain(&self.rest_paths);
        let own: BTreeSet<&String> = own.collect();
        let theirs: BTreeSet<&String> = found.shapes.iter().map(|(path, _)| path).collect();
        if own != theirs {
            let paths = |paths: Vec<&&String>| paths.into_iter().map(|p| p.to_string()).collect();
            return Err(PackedModelError::OtherModel {
                missing: paths(theirs.difference(&own).collect()),
                unused: paths(own.difference(&theirs).collect()),
            });
        }
        for (path, shape) in found.shapes {
            if let Some(place) = self.places.get(&path)
                && place.shape != shape
            {
                return Err(PackedModelError::Shape {
                    path,
                    expected: place.shape.clone(),
                    found: shape,
                });
            }
        }
        Ok(())
    }
}

/// Paths and shapes of the parameters of a model.
#[derive(Debug, Default)]
pub(in crate::qat) struct Parameters<'a> {
    pub shapes: Vec<(String, Vec<usize>)>,
    /// The first parameter with a reparameterization, and the name of the latter.
    pub reparameterized: Option<(String, String)>,
    /// Indices of those that belong to no reparameterization.
    plain: Vec<usize>,
    /// Expected shapes of some of them.
    places: Option<&'a BTreeMap<String, Place>>,
}

impl<'a> Parameters<'a> {
    fn expecting(places: &'a BTreeMap<String, Place>) -> Self {
        Self {
            places: Some(places),
            ..Self::default()
        }
    }

    /// Returns whether another shape than this is expected at a path.
    fn is_unexpected(&self, path: &ModulePath, shape: &[usize]) -> bool {
        let place = self.places.and_then(|places| places.get(&path.join()));
        place.is_some_and(|place| place.shape != shape)
    }

    fn add(&mut self, path: &ModulePath, shape: Vec<usize>) {
        if !path.is_reparameterizing() {
            self.plain.push(self.shapes.len());
        }
        self.shapes.push((path.join(), shape));
    }

    /// Returns the paths of the parameters that belong to no reparameterization.
    pub fn plain_paths(&self) -> impl Iterator<Item = &str> {
        self.plain.iter().map(|&i| self.shapes[i].0.as_str())
    }
}

impl PathVisitor for Parameters<'_> {
    fn enter(&mut self, path: &ModulePath) {
        if let ([parameter @ .., _], Some(name)) = (path.fields(), path.reparameterization()) {
            let first = (join(parameter), name.to_string());
            self.reparameterized.get_or_insert(first);
        }
    }

    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        let mut shape = param.lazy_shape().to_vec();
        // A `Linear` of column layout returns the transposed shape until it is initialized.
        if self.is_unexpected(path, &shape) {
            shape = param.base().dims().to_vec();
        }
        self.add(path, shape);
    }

    fn visit_int<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D, Int>>) {
        self.add(path, param.lazy_shape().to_vec());
    }

    fn visit_bool<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D, Bool>>) {
        self.add(path, param.lazy_shape().to_vec());
    }
}

/// Attaches packed weights to their parameters.
struct Attach<'a>(&'a PackedModel);

impl Reparameterizer for Attach<'_> {
    type Reparam = PackedParameter;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<PackedParameter>) {
        let Some((weight, place)) = self.0.weight_at(path) else {
            return (param, None);
        };
        let device = param.lazy_device();
        let weight = weight.clone().to_device(&device.clone().inner());
        let packed = PackedParameter::new(weight, place.row_axis);
        let shape: [usize; D] = core::array::from_fn(|axis| place.shape[axis]);
        let base = placeholder(param.id, shape, (&device, place.dtype));
        (base, Some(packed))
    }
}
