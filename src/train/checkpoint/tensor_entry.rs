use core::fmt;

use burn::{
    module::{Module, Param},
    tensor::{Bool, DType, Int, Tensor},
};
use serde::{Deserialize, Serialize};

use crate::base::path_visitor::{ModulePath, PathVisitor, visit_paths};

/// Parameter of a model in the list of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorEntry {
    /// Path in the module.
    pub path: String,
    /// Type of the values.
    pub dtype: DType,
    /// Shape.
    pub shape: Vec<usize>,
}

/// First difference between the parameters of two models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorDifference {
    /// Parameter of the model; `None` if it has none at this path.
    pub expected: Option<TensorEntry>,
    /// Parameter of the checkpoint; `None` if it has none at this path.
    pub found: Option<TensorEntry>,
    /// Number of parameters that differ.
    pub count: usize,
}

impl TensorEntry {
    /// Returns the parameters of a module, in the order of a visit.
    pub(in crate::train) fn of<M: Module>(module: &M) -> Vec<Self> {
        let mut entries = Entries(Vec::new());
        visit_paths(module, &mut entries);
        entries.0
    }

    /// Returns `true` if it can be loaded into another of the same shape, after a cast if `cast` is
    /// set.
    fn fits(&self, other: &Self, cast: bool) -> bool {
        let cast = cast && self.dtype.is_float() && other.dtype.is_float();
        self.shape == other.shape && (self.dtype == other.dtype || cast)
    }
}

impl TensorDifference {
    /// Returns the first parameter that only one of `expected` and `found` has.
    pub(in crate::train) fn between(
        expected: &[TensorEntry],
        found: &[TensorEntry],
        cast: bool,
    ) -> Option<Self> {
        let other = |entries: &[TensorEntry], path: &str| {
            entries.iter().find(|entry| entry.path == path).cloned()
        };
        let changed = expected.iter().filter_map(|entry| {
            let found = other(found, &entry.path);
            let fits = found.as_ref().is_some_and(|found| found.fits(entry, cast));
            (!fits).then(|| (Some(entry.clone()), found))
        });
        let added = found.iter().filter_map(|entry| {
            let expected = other(expected, &entry.path);
            expected.is_none().then(|| (None, Some(entry.clone())))
        });
        let mut differences = changed.chain(added);
        let (expected, found) = differences.next()?;
        Some(Self {
            expected,
            found,
            count: 1 + differences.count(),
        })
    }
}

impl fmt::Display for TensorEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.dtype, self.shape)
    }
}

impl fmt::Display for TensorDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = self.expected.as_ref().or(self.found.as_ref());
        let path = entry.map_or("", |entry| &entry.path);
        let side = |entry: &Option<TensorEntry>| {
            let text = entry.as_ref().map(ToString::to_string);
            text.unwrap_or_else(|| "nothing".to_string())
        };
        let (expected, found) = (side(&self.expected), side(&self.found));
        write!(f, "it has {found} at `{path}`, this one {expected}")?;
        match self.count {
            1 => Ok(()),
            count => write!(f, " ({count} parameters differ)"),
        }
    }
}

struct Entries(Vec<TensorEntry>);

impl Entries {
    fn add(&mut self, path: &ModulePath, dtype: DType, shape: &[usize]) {
        self.0.push(TensorEntry {
            path: path.join(),
            dtype,
            shape: shape.to_vec(),
        });
    }
}

impl PathVisitor for Entries {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        self.add(path, param.base().dtype(), &param.lazy_shape());
    }

    fn visit_int<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D, Int>>) {
        self.add(path, param.base().dtype(), &param.lazy_shape());
    }

    fn visit_bool<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D, Bool>>) {
        self.add(path, param.base().dtype(), &param.lazy_shape());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, dtype: DType, shape: [usize; 2]) -> TensorEntry {
        TensorEntry {
            path: path.to_string(),
            dtype,
            shape: shape.to_vec(),
        }
    }

    #[test]
    fn the_first_difference_is_named_and_the_others_are_counted() {
        let here = [
            entry("a", DType::F32, [2, 3]),
            entry("b", DType::F32, [3, 3]),
        ];
        let same = TensorDifference::between(&here, &here, false);
        assert_eq!(same, None);
        let there = [
            entry("b", DType::F32, [3, 4]),
            entry("c", DType::F32, [1, 1]),
        ];
        let difference = TensorDifference::between(&here, &there, false).unwrap();
        assert_eq!(
            difference.to_string(),
            "it has nothing at `a`, this one F32 [2, 3] (3 parameters differ)"
        );
    }

    #[test]
    fn a_float_type_is_a_difference_unless_it_is_cast() {
        let here = [entry("a", DType::F32, [2, 3])];
        let there = [entry("a", DType::BF16, [2, 3])];
        let difference = TensorDifference::between(&here, &there, false).unwrap();
        assert_eq!(
            difference.to_string(),
            "it has BF16 [2, 3] at `a`, this one F32 [2, 3]"
        );
        assert_eq!(TensorDifference::between(&here, &there, true), None);
        let codes = [entry("a", DType::I32, [2, 3])];
        assert!(TensorDifference::between(&here, &codes, true).is_some());
    }
}
