use burn::{
    module::{Content, DisplaySettings, Module, ModuleDisplay, Param, ParamId, list_param_ids},
    nn::{Dropout, DropoutConfig},
    tensor::{DType, Tensor, assert_shape},
};

use super::{
    AdapterBase,
    adapter_method::{AdapterMethod, BasePass, Merged},
};
use crate::{
    functions::low_rank_sum,
    nn::{SavedInput, by_tokens},
};

/// LoRA adapter of one projection: `y = base(x) + s B(A(dropout(x)))`.
///
/// With norms ([DoRA](super::LoraConfig::use_dora)), `y = m / n (base(x) - b + s B(A(x))) + b` with the
/// trained norms `m` and the norms `n` of the columns of `W + s A B`, which have no gradient.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Lora {
    /// Factor `A` of shape `[d_input, rank]`.
    pub a: Param<Tensor<2>>,
    /// Factor `B` of shape `[rank, d_output]`.
    pub b: Param<Tensor<2>>,
    /// Norm of each output's weights, of shape `[d_output]`, for DoRA.
    pub magnitude: Option<Param<Tensor<1>>>,
    /// Factors whose product was subtracted from the weight of the base.
    pub initial: Option<InitialFactors>,
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
            initial: None,
            dropout: DropoutConfig::new(0.0).init(),
            scaling,
        }
    }

    /// Says that the product of the factors, as they are now, was subtracted from the weight of the base:
    /// [PiSSA](super::LoraInit::Pissa) and [OLoRA](super::LoraInit::Olora). It is added again wherever the adapter
    /// does not take part.
    #[must_use]
    pub fn subtracted(mut self) -> Self {
        let [a, b] = [&self.a, &self.b].map(constant);
        self.initial = Some(InitialFactors { a, b });
        self
    }

    /// Returns the adapter of the weight from which nothing was subtracted: with the initial factors `A0` and `B0`
    /// it is `[A, A0]` and `[B; -B0]`, of twice the rank and the same scale.
    #[must_use]
    pub fn into_plain(mut self) -> Self {
        let Some(initial) = self.initial.take() else {
            return self;
        };
        let join = |of: Param<Tensor<2>>, with: Tensor<2>, dim| {
            let joined = Tensor::cat(vec![of.val().detach(), with], dim);
            Param::from_tensor(joined)
        };
        self.a = join(self.a, initial.a.val(), 1);
        self.b = join(self.b, -initial.b.val(), 0);
        self
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
    pub(crate) fn with_factors(mut self, a: Tensor<2>, b: Tensor<2>) -> Self {
        self.a = replaced(self.a, a);
        self.b = replaced(self.b, b);
        self
    }

    /// Replaces the values of the norms, if there are any.
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
        // The factor on the `rank` values of a token, which are fewer than its outputs.
        by_tokens(x, |x| (x.matmul(a) * self.scaling).matmul(b))
    }

    /// Returns `y + s B(A(x))`, in the type of `y`.
    fn added_to<const D: usize>(&self, y: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
        let (a, b, dtype) = (self.a.val(), self.b.val(), y.dtype());
        match a.dtype() == dtype {
            true => low_rank_sum(y, x.cast(dtype), a, b, self.scaling),
            false => y + self.product(x).cast(dtype),
        }
    }

    /// Returns `s A B` of shape `[d_input, d_output]`, in `f32`.
    pub fn delta(&self) -> Tensor<2> {
        let [a, b] = [&self.a, &self.b].map(|factor| factor.val().detach().cast(DType::F32));
        a.matmul(b) * self.scaling
    }
}

/// Factors of an adapter before training, whose product times the scale was subtracted from the weight of the base. They
/// do not train.
#[derive(Module, Debug)]
pub struct InitialFactors {
    /// Factor `A0` of shape `[d_input, rank]`.
    pub a: Param<Tensor<2>>,
    /// Factor `B0` of shape `[rank, d_output]`.
    pub b: Param<Tensor<2>>,
}

/// Returns the value of a parameter as one that does not train.
fn constant(param: &Param<Tensor<2>>) -> Param<Tensor<2>> {
    Param::initialized(ParamId::new(), param.val().detach().set_require_grad(false))
}

/// Returns the norm of each column, of shape `[1, d_output]`.
pub(super) fn column_norms(weight: Tensor<2>) -> Tensor<2> {
    weight.square().sum_dim(0).sqrt()
}

impl Lora {
    /// Returns what a DoRA adapter adds to the outputs of the base.
    fn directed<P: AdapterBase, const D: usize>(
        &self,
        magnitude: Tensor<1>,
        pass: &BasePass<'_, P, D>,
    ) -> Tensor<D> {
        // The base sees the dropped input here, as in peft.
        let drops = self.dropout.prob > 0.0 && pass.x.is_autodiff();
        let x = self.dropout.forward(pass.x.clone());
        let output = match &pass.output {
            Some(output) if !drops => output.clone(),
            _ => pass.output_of(x.clone()),
        };
        let linear = match pass.base.bias() {
            Some(bias) => output - bias.val().unsqueeze(),
            None => output,
        };
        let dtype = linear.dtype();
        let directed = pass.base.dense_weight() + self.delta().without_autodiff();
        let norms: Tensor<1> = column_norms(directed).squeeze_dim(0);
        let norms = match x.is_autodiff() {
            true => norms.autodiff(),
            false => norms,
        };
        let ratio = (magnitude / norms).cast(dtype).unsqueeze::<D>();
        let product = self.product(x).cast(dtype);
        linear * (ratio.clone() - 1.0) + product * ratio
    }
}

impl AdapterMethod for Lora {
    fn constants(&self) -> Vec<ParamId> {
        self.initial
            .as_ref()
            .map(list_param_ids)
            .unwrap_or_default()
    }

    fn at_rest(&self) -> Option<Self> {
        let InitialFactors { a, b } = self.initial.clone()?;
        Some(Self {
            a,
            b,
            magnitude: None,
            initial: None,
            dropout: DropoutConfig::new(0.0).init(),
            scaling: self.scaling,
        })
    }

    fn check(&self, [d_input, d_output]: [usize; 2]) {
        assert_shape!(self.a.val(), [d_input, _]);
        assert_shape!(self.b.val(), [_, d_output]);
    }

    fn output<P: AdapterBase, const D: usize>(
        &self,
        pass: &BasePass<'_, P, D>,
        y: Tensor<D>,
    ) -> Tensor<D> {
        let Some(magnitude) = &self.magnitude else {
            return self.added_to(y, self.dropout.forward(pass.x.clone()));
        };
        y + self.directed(magnitude.val(), pass)
    }

    fn saved_input(&self) -> SavedInput {
        match self.magnitude.is_none() && self.dropout.prob == 0.0 {
            true => SavedInput::Recomputed,
            false => SavedInput::Kept,
        }
    }

    fn uses_base_output(&self) -> bool {
        self.magnitude.is_some()
    }

    fn draws_random_numbers(&self) -> bool {
        self.dropout.prob > 0.0 && self.dropout.training.is_enabled()
    }

    fn merged(&self, base: &Tensor<2>, mut merged: Merged) -> Merged {
        let delta = self.delta().without_autodiff();
        merged.weight = merged.weight
            + match &self.magnitude {
                None => delta,
                Some(magnitude) => {
                    let norms = column_norms(base.clone() + delta.clone());
                    let ratio = magnitude.val().without_autodiff().unsqueeze() / norms;
                    (merged.of_base.clone() + delta) * ratio - merged.of_base.clone()
                }
            };
        merged
    }
}

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
