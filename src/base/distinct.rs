use std::collections::HashSet;

use burn::{
    module::{Flag, Module, ModuleVisitor, Param, ParamId},
    tensor::{Bool, Int, Tensor},
};

/// Visits each parameter of a module once, also one that is shared.
pub(crate) fn visit_distinct<M: Module>(module: &M, visitor: &mut impl ModuleVisitor) {
    let seen = HashSet::new();
    module.visit(&mut Distinct { visitor, seen });
}

struct Distinct<'a, V> {
    visitor: &'a mut V,
    seen: HashSet<ParamId>,
}

impl<V: ModuleVisitor> ModuleVisitor for Distinct<'_, V> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.seen.insert(param.id) {
            self.visitor.visit_float(param);
        }
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        if self.seen.insert(param.id) {
            self.visitor.visit_int(param);
        }
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        if self.seen.insert(param.id) {
            self.visitor.visit_bool(param);
        }
    }

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        if self.seen.insert(flag.id) {
            self.visitor.visit_flag(flag);
        }
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.visitor.enter_module(name, container_type);
    }

    fn exit_module(&mut self, name: &str, container_type: &str) {
        self.visitor.exit_module(name, container_type);
    }
}

#[cfg(test)]
mod tests {
    use burn::{nn::LinearConfig, tensor::Device};

    use super::*;

    #[derive(Default)]
    struct Count(usize);

    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
            self.0 += 1;
        }
    }

    #[test]
    fn a_shared_parameter_is_visited_once() {
        let linear = || LinearConfig::new(2, 3).init(&Device::default());
        let (shared, other) = (linear(), linear());
        let layers = vec![shared.clone(), other, shared];
        let (mut all, mut distinct) = (Count::default(), Count::default());
        layers.visit(&mut all);
        visit_distinct(&layers, &mut distinct);
        assert_eq!((all.0, distinct.0), (6, 4));
    }
}
