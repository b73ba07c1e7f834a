//! Visitors and mappers that receive the path of each parameter.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Bool, Int, Tensor},
};

/// A field of a module, or an element of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// Type of the module that holds the field, without its generics.
    pub(crate) container: String,
    /// `true` if the field is the reparameterization of a parameter.
    is_reparameterization: bool,
}

/// The fields from a model down to one of its modules or parameters.
#[derive(Debug, Default)]
pub(crate) struct ModulePath(Vec<Field>);

impl ModulePath {
    pub(crate) fn fields(&self) -> &[Field] {
        &self.0
    }

    /// Returns the names of the fields joined with dots, as in records.
    pub(crate) fn join(&self) -> String {
        join(&self.0)
    }

    /// Returns the name of the last field if it is a reparameterization.
    pub(crate) fn reparameterization(&self) -> Option<&str> {
        let last = self.0.last().filter(|field| field.is_reparameterization);
        last.map(|field| field.name.as_str())
    }

    /// Returns whether the path leads into a reparameterization, whose parameters are not the model's own.
    pub(crate) fn is_reparameterizing(&self) -> bool {
        self.0.iter().any(|field| field.is_reparameterization)
    }

    /// Returns the fields down to the parameter in whose reparameterization the path leads, if it does.
    pub(crate) fn reparameterized(&self) -> Option<&[Field]> {
        let end = self
            .0
            .iter()
            .position(|field| field.is_reparameterization)?;
        Some(&self.0[..end])
    }

    fn enter(&mut self, name: &str, container_type: &str) {
        // Burn writes `Struct:Linear`, with the kind of the type as a prefix.
        let container = container_type.rsplit(':').next().unwrap_or(container_type);
        self.0.push(Field {
            name: name.to_string(),
            container: container.to_string(),
            is_reparameterization: container_type == "Reparameterization",
        });
    }

    fn exit(&mut self) {
        self.0.pop();
    }
}

/// Returns the names of fields joined with dots.
pub(crate) fn join(fields: &[Field]) -> String {
    let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    names.join(".")
}

/// Visitor that receives the path of each parameter.
pub(crate) trait PathVisitor {
    /// Called for each field, before its contents.
    fn enter(&mut self, _path: &ModulePath) {}

    fn visit_float<const D: usize>(&mut self, _path: &ModulePath, _param: &Param<Tensor<D>>) {}

    fn visit_int<const D: usize>(&mut self, _path: &ModulePath, _param: &Param<Tensor<D, Int>>) {}

    fn visit_bool<const D: usize>(&mut self, _path: &ModulePath, _param: &Param<Tensor<D, Bool>>) {}
}

/// Mapper that receives the path of each float parameter.
pub(crate) trait PathMapper {
    fn map_float<const D: usize>(
        &mut self,
        path: &ModulePath,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>>;
}

/// Visits the parameters of a module with their paths.
pub(crate) fn visit_paths<M: Module>(module: &M, visitor: &mut impl PathVisitor) {
    module.visit(&mut Paths::new(visitor));
}

/// Maps the float parameters of a module with their paths.
pub(crate) fn map_paths<M: Module>(module: M, mapper: &mut impl PathMapper) -> M {
    module.map(&mut Paths::new(mapper))
}

/// A visitor or mapper for Burn that keeps the path for one of this crate.
pub(crate) struct Paths<'a, V> {
    inner: &'a mut V,
    path: ModulePath,
}

impl<'a, V> Paths<'a, V> {
    pub(crate) fn new(inner: &'a mut V) -> Self {
        let path = ModulePath::default();
        Self { inner, path }
    }
}

impl<V: PathVisitor> ModuleVisitor for Paths<'_, V> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
        self.inner.enter(&self.path);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.inner.visit_float(&self.path, param);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.inner.visit_int(&self.path, param);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.inner.visit_bool(&self.path, param);
    }
}

impl<V: PathMapper> ModuleMapper for Paths<'_, V> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.inner.map_float(&self.path, param)
    }
}

#[cfg(test)]
mod tests {
    use burn::{
        nn::{BatchNormConfig, LinearConfig},
        tensor::Device,
    };

    use super::*;

    #[derive(Default)]
    struct Containers(Vec<(String, String)>);

    impl PathVisitor for Containers {
        fn visit_float<const D: usize>(&mut self, path: &ModulePath, _param: &Param<Tensor<D>>) {
            let container = &path.fields().last().unwrap().container;
            self.0.push((path.join(), container.clone()));
        }
    }

    #[test]
    fn paths_have_the_names_and_types_of_the_modules() {
        let device = Device::default();
        let linear = LinearConfig::new(2, 3).init(&device);
        let model = (vec![linear], BatchNormConfig::new(3).init(&device));
        let mut found = Containers::default();
        visit_paths(&model, &mut found);
        let found: Vec<(&str, &str)> = found.0.iter().map(|(a, b)| (&a[..], &b[..])).collect();
        assert_eq!(found[0], ("0.0.weight", "Linear"));
        assert_eq!(found[1], ("0.0.bias", "Linear"));
        assert_eq!(found[2], ("1.gamma", "BatchNorm"));
    }
}
