use burn::{
    module::{Content, DisplaySettings, Module, ModuleDisplay, Param},
    nn::{Dropout, DropoutConfig},
    tensor::{DType, Tensor, assert_shape},
};

use crate::nn::by_tokens;

/// LoRA adapter of one projection: `s B(A(dropout(x)))`.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Lora {
    /// Factor `A` of shape `[d_input, rank]`.
    pub a: Param<Tensor<2>>,
    /// Factor `B` of shape `[rank, d_output]`.
    pub b: Param<Tensor<2>>,
    /// Norm of each output's weights, of shape `[d_output]`, for DoRA.
    pub magnitude: Option<Param<Tensor<1>>>,
    /// Dropout of the input.
    pub dropout: Dropout,
    /// Factor `s` of the product.
    pub scaling: f64,
}

impl Lora {
    /// Creates an adapter of factors `a: [d_input, rank]` and `b: [rank, d_output]`.
    ///
    /// # Panics
    ///
    /// If the ranks of the factors differ.
    #[track_caller]
    pub fn new(a: Tensor<2>, b: Tensor<2>, scaling: f64) -> Self {
        assert!(
            a.dims()[1] == b.dims()[0],
            "factors [d_input, rank] and [rank, d_output], got {:?} and {:?}",
            a.dims(),
            b.dims()
        );
        Self {
            a: Param::from_tensor(a),
            b: Param::from_tensor(b),
            magnitude: None,
            dropout: DropoutConfig::new(0.0).init(),
            scaling,
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

    /// Sets the norms `[d_output]` of [DoRA](super::LoraConfig::use_dora).
    ///
    /// # Panics
    ///
    /// If there is not one norm for each output.
    #[track_caller]
    #[must_use]
    pub fn with_magnitude(mut self, magnitude: Tensor<1>) -> Self {
        let [_, d_output] = self.b.shape().dims();
        assert_shape!(magnitude, [d_output]);
        self.magnitude = Some(Param::from_tensor(magnitude));
        self
    }

    /// Replaces the values of the factors, which keep their identifiers.
    #[cfg(feature = "interop")]
    pub(crate) fn with_factors(mut self, a: Tensor<2>, b: Tensor<2>) -> Self {
        self.a = replaced(self.a, a);
        self.b = replaced(self.b, b);
        self
    }

    /// Replaces the values of the norms, if there are any.
    #[cfg(feature = "interop")]
    pub(crate) fn with_norms(mut self, norms: Tensor<1>) -> Self {
        self.magnitude = self.magnitude.map(|magnitude| replaced(magnitude, norms));
        self
    }

    /// Returns the rank.
    pub fn rank(&self) -> usize {
        self.a.shape()[1]
    }

    /// Returns `s B(A(x))`, in the type of the factors.
    pub(super) fn product<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (a, b) = (self.a.val(), self.b.val());
        let x = x.cast(a.dtype());
        by_tokens(x, |x| x.matmul(a).matmul(b) * self.scaling)
    }

    /// Returns `s A B` of shape `[d_input, d_output]`, in `f32`.
    pub fn delta(&self) -> Tensor<2> {
        let [a, b] = [&self.a, &self.b].map(|factor| factor.val().detach().cast(DType::F32));
        a.matmul(b) * self.scaling
    }
}

#[cfg(feature = "interop")]
fn replaced<const D: usize>(param: Param<Tensor<D>>, value: Tensor<D>) -> Param<Tensor<D>> {
    param.map(|old| value.set_require_grad(old.is_require_grad()))
}

impl ModuleDisplay for Lora {
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
            .add("dora", &self.magnitude.is_some())
            .optional()
    }
}
