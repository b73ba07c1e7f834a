use burn::{
    module::{Module, Param, ParamId, Reparameterization},
    tensor::{Shape, Tensor},
};

use super::quantized_part::QuantizedPart;
use crate::{
    peft::{InitialFactors, Lora},
    qat::{FakeQuant, Tagged},
};

/// Reparameterization `W -> W + s A B` of a weight `[d_input, d_output]`: a frozen parameter with a LoRA adapter.
///
/// With norms ([DoRA](crate::peft::LoraConfig::use_dora)), `W -> m / n (W + s A B)` with the trained norms `m` and
/// the norms `n` of the columns of `W + s A B`, which have no gradient. A fake quantizer quantizes `W` or
/// the result, by its [`QuantizedPart`].
///
/// The parameter holds `W` ([`Param::base`](burn::module::Param::base)); layers read the result through
/// [`Param::val`](burn::module::Param::val). [`Attach`](super::Attach) attaches it.
///
/// Records hold the factors, norms and quantizer, and the scale `s` in a name: one of another scale is refused.
#[derive(Module, Debug)]
pub struct AdaptedWeight {
    /// The factors, norms and scale. Its dropout is not used: a reparameterization does not see the input.
    pub lora: Lora,
    /// Factors whose product was subtracted from the weight, which left `W` of it:
    /// [PiSSA](crate::peft::LoraInit::Pissa) and [OLoRA](crate::peft::LoraInit::Olora). The first has the scale `s` in it.
    pub initial: Option<InitialFactors>,
    /// Fake quantizer of `W`.
    pub base_quant: Option<FakeQuant>,
    /// Fake quantizer of the result.
    pub sum_quant: Option<FakeQuant>,
    settings: Tagged<()>,
}

/// Fields of [`AdaptedWeight`] that train, and those that its records need besides.
pub(super) const LORA: &str = "lora";
pub(super) const SETTINGS: &str = "settings";
pub(super) const INITIAL: &str = "initial";
/// Field of [`AdaptedWeight`] with the quantizer of the result.
pub(super) const SUM_QUANT: &str = "sum_quant";

impl AdaptedWeight {
    /// Creates the reparameterization, with the fake quantizer of a part.
    pub(super) fn new(mut lora: Lora, fake_quant: Option<FakeQuant>, part: QuantizedPart) -> Self {
        let placeholder = Tensor::from_data([0], &lora.a.lazy_device());
        let placeholder = Param::initialized(ParamId::new(), placeholder);
        let settings = Tagged::new(&format!("scaling {}", lora.scaling), placeholder, ());
        let initial = lora.initial.take().map(|InitialFactors { a, b }| {
            let a = a.map(|a| a * lora.scaling);
            InitialFactors { a, b }
        });
        let (base_quant, sum_quant) = match part {
            QuantizedPart::Base => (fake_quant, None),
            QuantizedPart::Sum => (None, fake_quant),
        };
        Self {
            lora,
            initial,
            base_quant,
            sum_quant,
            settings,
        }
    }

    /// Returns `W + s A B`, or `m / n (W + s A B)`, in the type of `W`.
    fn sum<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let (dtype, shape, lora) = (base.dtype(), base.shape(), &self.lora);
        let product = lora.a.val().matmul(lora.b.val()) * lora.scaling;
        let sum = base.cast(product.dtype()) + product.reshape(shape);
        let sum = match &lora.magnitude {
            None => sum,
            Some(magnitude) => {
                let norms = sum.clone().detach().square().sum_dim(0).sqrt();
                // A column of zeros has no direction: it stays zero instead of 0 / 0.
                let zero = norms.clone().equal_elem(0.0);
                let norms = norms.mask_fill(zero, 1.0);
                let row = Shape::from(norms.dims());
                sum * (magnitude.val().reshape(row) / norms)
            }
        };
        sum.cast(dtype)
    }
}

impl Reparameterization for AdaptedWeight {
    const NAME: &'static str = "adapter";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let base = match &self.base_quant {
            Some(quantizer) => quantizer.forward(base),
            None => base,
        };
        let sum = self.sum(base);
        match &self.sum_quant {
            Some(quantizer) => quantizer.forward(sum),
            None => sum,
        }
    }
}
