use std::collections::BTreeMap;

use burn::{nn::Linear, tensor::Tensor};

use super::{
    AdaptedLinear, Adapter, AdapterBase, AdapterReport, Lora, LoraConfig, LoraInit, PeftError,
    adapter_base::on,
    lora::column_norms,
    low_rank::{Factors, LowRank},
};
use crate::{base::bounds::OutOfBounds, nn::BitNetLm};

/// Quantizes a projection together with an adapter that makes up for the error:
/// [LoftQ](https://arxiv.org/abs/2310.08659).
///
/// With the weight `W`, from `s A B = 0`: `Q = quantize(W - s A B)`, then `s A B` is the best approximation of `W - Q` of
/// its rank, and so on for the number of iterations. Returns the base `Q`, which `quantize` makes of the layer with
/// the weight that it is given, and the adapter.
///
/// With a base of 4 bits without double quantization it is `loftq_init` of peft, at a scale `s` of 1: peft leaves
/// the scale out, so that `W` is approximated at `alpha = rank` alone. That the base may be any other, such as
/// packed ternary weights, is an extension. Each iteration decomposes the weight in full: about 1 s for a weight of
/// 576 x 1536 on one core.
///
/// # Panics
///
/// If the rank is larger than a dimension of the weight, or there is no iteration.
///
/// # Example
///
/// ```
/// use bitnet_burn::{
///     nn::{BitLinear, Linear4bit},
///     peft::loftq,
///     quant::{FourBitConfig, QatScheme},
/// };
/// use burn::{nn::LinearConfig, tensor::Device};
///
/// let linear = LinearConfig::new(64, 32).init(&Device::default());
/// let nf4 = FourBitConfig::default();
/// let (base, lora) = loftq(&linear, 4, 1.0, 5, |linear| Linear4bit::from_linear(&linear, &nf4));
/// let (base, lora) = loftq(&linear, 4, 1.0, 5, |linear| {
///     BitLinear::from_linear(linear, &QatScheme::b1_58()).pack()
/// });
/// ```
#[track_caller]
pub fn loftq<Q: AdapterBase>(
    linear: &Linear,
    rank: usize,
    scaling: f64,
    iterations: usize,
    quantize: impl Fn(Linear) -> Q,
) -> (Q, Lora) {
    let smallest = linear.size().into_iter().min().unwrap_or(0);
    assert!(
        rank <= smallest && iterations > 0,
        "rank of at most {smallest} and 1 iteration or more, got rank {rank} and {iterations} iterations"
    );
    let device = linear.weight.device();
    let (base, (a, b)) = alternate(linear, rank, scaling, iterations, quantize);
    (base, Lora::new(on(a, &device), on(b, &device), scaling))
}

fn alternate<Q: AdapterBase>(
    linear: &Linear,
    rank: usize,
    scaling: f64,
    iterations: usize,
    quantize: impl Fn(Linear) -> Q,
) -> (Q, Factors) {
    let weight = linear.dense_weight();
    let step = |target: Tensor<2>| {
        let base = quantize(linear.clone().with_weight(target, None));
        let error = weight.clone() - base.dense_weight();
        let factors = LowRank::exact(error, rank).factors(scaling);
        (base, factors)
    };
    let mut result = step(weight.clone());
    for _ in 1..iterations {
        let (a, b) = result.1;
        result = step(weight.clone() - a.matmul(b) * scaling);
    }
    result
}

impl BitNetLm<Linear> {
    /// Quantizes the projections, those that a configuration targets by [`loftq`] with an adapter beside it, and freezes
    /// everything but the adapters. `quantize` makes the base of a projection of this name.
    ///
    /// The configuration has the init [`Loftq`](LoraInit::Loftq).
    ///
    /// # Errors
    ///
    /// As [`with_adapter`](BitNetLm::with_adapter), and if the configuration has another init, or a rank is larger than
    /// a projection.
    ///
    /// # Example
    ///
    /// ```
    /// use bitnet_burn::{
    ///     nn::{BitNetLm, BitNetLmConfig, Linear4bit},
    ///     peft::{LoraConfig, LoraInit},
    ///     quant::FourBitConfig,
    /// };
    /// use burn::{nn::Linear, tensor::Device};
    ///
    /// let lm: BitNetLm<Linear> = BitNetLmConfig::new(64, 32, 1, 2, 48).init(&Device::default());
    /// let config = LoraConfig::new(4).with_init(LoraInit::Loftq(2));
    /// let nf4 = FourBitConfig::default();
    /// let (lm, _) = lm.with_loftq("default", &config, |_, linear| Linear4bit::from_linear(&linear, &nf4))?;
    /// # Ok::<(), bitnet_burn::peft::PeftError>(())
    /// ```
    pub fn with_loftq<Q: AdapterBase>(
        self,
        name: &str,
        config: &LoraConfig,
        quantize: impl Fn(&str, Linear) -> Q,
    ) -> Result<(BitNetLm<AdaptedLinear<Q>>, AdapterReport), PeftError> {
        let LoraInit::Loftq(iterations) = config.init else {
            return Err(OutOfBounds::new("init", "loftq", config.init).into());
        };
        let compiled = config.compile()?;
        let selection = config.targets.compile(&config.modules_to_save)?;
        let mut factors = BTreeMap::new();
        let lm = self.try_map_projections(|module, linear| -> Result<_, PeftError> {
            if !selection.matches(module) {
                return Ok(AdaptedLinear::new(quantize(module, linear)));
            }
            let (rank, scaling) = compiled.rank_and_scaling(config, module);
            config.init.check_rank(module, linear.size(), rank)?;
            let (base, lora) = loftq(&linear, rank, scaling, iterations, |l| quantize(module, l));
            factors.insert(module.to_string(), lora);
            Ok(AdaptedLinear::new(base))
        })?;
        let drawn = config.clone().with_init(LoraInit::Kaiming);
        let (lm, report) = lm.add_adapter(name, &drawn)?;
        let lm = lm.map_projections(|module, mut linear| {
            if let Some(fitted) = factors.remove(module) {
                let base = linear.base.dense_weight();
                linear.map_adapter(name, |adapter| with_factors(adapter, fitted, base));
            }
            linear
        });
        Ok((lm, report))
    }
}

/// Replaces the factors of an adapter, and its norms by those of the base with them.
fn with_factors(adapter: Adapter, fitted: Lora, base: Tensor<2>) -> Adapter {
    let Adapter::Lora(lora) = adapter else {
        unreachable!("a configuration of LoRA adds it");
    };
    let device = fitted.a.device();
    let norms = column_norms(base + fitted.delta().without_autodiff()).squeeze_dim::<1>(0);
    let lora = lora.with_factors(fitted.a.val().detach(), fitted.b.val().detach());
    lora.with_norms(on(norms, &device)).into()
}
