use burn::{
    module::{Content, DisplaySettings, Module, ModuleDisplay, Param},
    nn::{Dropout, DropoutConfig},
    tensor::{DType, Tensor, assert_shape},
};

use super::{
    AdapterBase,
    adapter_method::{AdapterMethod, BasePass, Merged},
};
use crate::nn::by_tokens;

/// AdaLoRA adapter of one projection: `y = base(x) + s B(E * A(dropout(x)))`.
///
/// `A`, `E` and `B` are of the form of a singular value decomposition. A direction `i` whose `E_i` is zero adds
/// nothing: a [`RankAllocator`](super::RankAllocator) prunes directions by setting it to zero.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct AdaLora {
    /// Factor `A` of shape `[d_input, rank]`.
    pub a: Param<Tensor<2>>,
    /// Value `E` of each direction, of shape `[rank]`.
    pub e: Param<Tensor<1>>,
    /// Factor `B` of shape `[rank, d_output]`.
    pub b: Param<Tensor<2>>,
    /// Dropout of the input.
    pub dropout: Dropout,
    /// Factor `s` of the product.
    pub scaling: f64,
}

impl AdaLora {
    /// Creates an adapter of factors `a: [d_input, rank]`, `e: [rank]` and `b: [rank, d_output]`, with
    /// `s = alpha / (rank + 1e-5)` as in peft. The scale remains that of this rank when directions are pruned.
    ///
    /// # Panics
    ///
    /// If the ranks of the factors differ.
    #[track_caller]
    pub fn new(a: Tensor<2>, e: Tensor<1>, b: Tensor<2>, alpha: f64) -> Self {
        let [rank] = e.dims();
        assert!(
            a.dims()[1] == rank && b.dims()[0] == rank,
            "factors [d_input, rank], [rank] and [rank, d_output], got {:?}, {:?} and {:?}",
            a.dims(),
            e.dims(),
            b.dims()
        );
        Self {
            a: Param::from_tensor(a),
            e: Param::from_tensor(e),
            b: Param::from_tensor(b),
            dropout: DropoutConfig::new(0.0).init(),
            scaling: alpha / (rank as f64 + 1e-5),
        }
    }

    /// Sets the dropout of the input.
    ///
    /// # Panics
    ///
    /// If it is no probability.
    #[track_caller]
    #[must_use]
    pub fn with_dropout(mut self, dropout: f64) -> Self {
        self.dropout = DropoutConfig::new(dropout).init();
        self
    }

    /// Replaces the values of the factors, which keep their identifiers.
    #[cfg(feature = "interop")]
    pub(crate) fn with_factors(mut self, a: Tensor<2>, e: Tensor<1>, b: Tensor<2>) -> Self {
        fn replaced<const D: usize>(param: Param<Tensor<D>>, value: Tensor<D>) -> Param<Tensor<D>> {
            param.map(|old| value.set_require_grad(old.is_require_grad()))
        }
        self.a = replaced(self.a, a);
        self.e = replaced(self.e, e);
        self.b = replaced(self.b, b);
        self
    }

    /// Returns the rank, with the directions that are pruned.
    pub fn rank(&self) -> usize {
        self.e.shape()[0]
    }

    /// Returns `s (A * E) B` of shape `[d_input, d_output]`, in `f32`.
    pub fn delta(&self) -> Tensor<2> {
        let [a, b] = [&self.a, &self.b].map(|factor| factor.val().detach().cast(DType::F32));
        let e = self.e.val().detach().cast(DType::F32);
        (a * e.unsqueeze()).matmul(b) * self.scaling
    }
}

impl AdapterMethod for AdaLora {
    fn check(&self, [d_input, d_output]: [usize; 2]) {
        assert_shape!(self.a.val(), [d_input, _]);
        assert_shape!(self.b.val(), [_, d_output]);
    }

    fn output<P: AdapterBase, const D: usize>(
        &self,
        pass: &BasePass<'_, P, D>,
        y: Tensor<D>,
    ) -> Tensor<D> {
        let (a, e, b) = (self.a.val(), self.e.val(), self.b.val());
        let x = self.dropout.forward(pass.x.clone()).cast(a.dtype());
        let product = by_tokens(x, |x| {
            (x.matmul(a) * e.unsqueeze()).matmul(b) * self.scaling
        });
        let dtype = y.dtype();
        y + product.cast(dtype)
    }

    fn draws_random_numbers(&self) -> bool {
        self.dropout.prob > 0.0 && self.dropout.training.is_enabled()
    }

    fn merged(&self, _base: &Tensor<2>, mut merged: Merged) -> Merged {
        merged.weight = merged.weight + self.delta().without_autodiff();
        merged
    }
}

impl ModuleDisplay for AdaLora {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [d_input, rank] = self.a.shape().dims();
        let [_, d_output] = self.b.shape().dims();
        content
            .add("d_input", &d_input)
            .add("d_output", &d_output)
            .add("rank", &rank)
            .add("scaling", &self.scaling)
            .optional()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn display() {
        let device = Device::default();
        let zeros = |shape: [usize; 2]| Tensor::<2>::zeros(shape, &device);
        let e = Tensor::<1>::zeros([2], &device);
        let adapter = AdaLora::new(zeros([4, 2]), e, zeros([2, 3]), 2.0);
        assert_eq!(
            format!("{adapter}"),
            "AdaLora {d_input: 4, d_output: 3, rank: 2, scaling: 0.9999950000249999, params: 16}"
        );
    }
}
