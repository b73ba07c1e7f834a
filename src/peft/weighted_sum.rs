use burn::{module::Module, tensor::Tensor};

use super::{
    AdaptedLinear, Adapter, AdapterBase, Lora, LoraConfig, PeftError, TargetModules, ends::End,
};
use crate::{
    base::bounds::OutOfBounds,
    nn::{BitNetLm, LowRankProduct},
};

/// Combination of LoRA adapters into one, whose factor `s` is 1.
///
/// Of adapters with weights `w`, factors `A` and `B` and scales `s`. As `combination_type` of peft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combination {
    /// `A' = [w1 s1 A1, w2 s2 A2, ..]`, `B' = [B1; B2; ..]`: the sum of the products, exact; its rank is the sum of
    /// the ranks.
    Cat,
    /// `A' = sum of sign(w s) sqrt(|w s|) A`, `B' = sum of sqrt(|w s|) B`, for adapters of one rank. With more than
    /// one adapter it is not the sum of the products: those of one's `A` with another's `B` come in, too.
    Linear,
}

/// A LoRA adapter, and its weight times its scale.
struct Summand {
    lora: Lora,
    weight: f64,
}

impl<P: AdapterBase> BitNetLm<AdaptedLinear<P>> {
    /// Adds the weighted sum of adapters as a further one, which becomes the active one and is frozen. Returns the
    /// model, and the configuration with which the adapter is saved.
    ///
    /// A module that only some of the adapters have gets the sum of those.
    ///
    /// # Errors
    ///
    /// If one of the adapters does not exist, is listed twice, or is not LoRA or is DoRA (whose norms have no sum) or a prompt,
    /// `name` exists, a weight is not finite, or ranks differ for [`Combination::Linear`].
    ///
    /// # Example
    ///
    /// ```
    /// use bitnet_burn::{nn::{BitLinear, BitNetLm, BitNetLmConfig}, peft::{Combination, LoraConfig}};
    /// use burn::tensor::Device;
    ///
    /// let lm: BitNetLm<BitLinear> = BitNetLmConfig::new(64, 32, 1, 2, 48).init(&Device::default());
    /// let (lm, _) = lm.with_adapter("one", LoraConfig::new(2))?;
    /// let (lm, _) = lm.add_adapter("two", LoraConfig::new(4))?;
    /// let (lm, config) = lm.with_weighted_adapter("sum", &[("one", 0.7), ("two", 0.3)], Combination::Cat)?;
    /// assert_eq!(config.rank, 6);
    /// # Ok::<(), bitnet_burn::peft::PeftError>(())
    /// ```
    pub fn with_weighted_adapter(
        self,
        name: &str,
        adapters: &[(&str, f64)],
        combination: Combination,
    ) -> Result<(Self, LoraConfig), PeftError> {
        self.check_sum(name, adapters)?;
        let mut ranks = Vec::new();
        let mut lm = self.try_map_projections(|module, mut linear| -> Result<_, PeftError> {
            linear.set_active(&[]);
            let summands = summands(module, &linear, adapters)?;
            let Some(sum) = combined(module, &summands, combination)? else {
                return Ok(linear);
            };
            ranks.push((module.to_string(), sum.rank()));
            Ok(linear.with_adapter(name, sum.no_grad()))
        })?;
        for end in End::ALL {
            let products = end.products_mut(&mut lm);
            products.set_active(&[]);
            let found = adapters
                .iter()
                .filter_map(|&(name, weight)| Some((products.get(name)?, weight)));
            let summands: Vec<Summand> = found
                .map(|(product, weight)| Summand {
                    lora: product.into(),
                    weight: weight * product.scaling,
                })
                .collect();
            if let Some(sum) = combined(end.name(), &summands, combination)? {
                ranks.push((end.name().to_string(), sum.rank()));
                products.add(name, LowRankProduct::from(sum).no_grad());
            }
        }
        Ok((lm, config(&ranks)))
    }

    fn check_sum(&self, name: &str, adapters: &[(&str, f64)]) -> Result<(), PeftError> {
        if self.adapter_names().contains(name) {
            let name = name.to_string();
            return Err(PeftError::Exists { name });
        }
        OutOfBounds::unless(!adapters.is_empty(), "adapters", "1 or more", 0)?;
        for (i, (adapter, weight)) in adapters.iter().enumerate() {
            self.check_name(adapter)?;
            if self.prompt(adapter).is_some() {
                return Err(PeftError::NoSum {
                    module: "model.prompt".to_string(),
                    reason: format!("{adapter} is a prompt, which has no sum with adapters"),
                });
            }
            let field = format!("the weight of {adapter}");
            OutOfBounds::unless(weight.is_finite(), &field, "finite", *weight)?;
            let is_new = adapters[..i].iter().all(|(other, _)| other != adapter);
            OutOfBounds::unless(is_new, "adapters", "different", *adapter)?;
        }
        Ok(())
    }
}

/// Returns those of the adapters that a module has, beside the original weight.
fn summands<P: AdapterBase>(
    module: &str,
    linear: &AdaptedLinear<P>,
    adapters: &[(&str, f64)],
) -> Result<Vec<Summand>, PeftError> {
    let found = adapters
        .iter()
        .filter_map(|&(name, weight)| Some((name, weight, linear.adapter(name)?)));
    let summands = found.map(|(name, weight, adapter)| {
        let Adapter::Lora(lora) = adapter else {
            return Err(PeftError::NoSum {
                module: module.to_string(),
                reason: format!("{name} is no LoRA adapter"),
            });
        };
        if lora.magnitude.is_some() {
            return Err(PeftError::NoSum {
                module: module.to_string(),
                reason: format!("{name} is a DoRA adapter, whose norms have no sum"),
            });
        }
        let lora = lora.clone().into_plain();
        let weight = weight * lora.scaling;
        Ok(Summand { lora, weight })
    });
    summands.collect()
}

/// Returns the sum of adapters, if there are any.
fn combined(
    module: &str,
    summands: &[Summand],
    combination: Combination,
) -> Result<Option<Lora>, PeftError> {
    let Some(first) = summands.first() else {
        return Ok(None);
    };
    let (a, b) = match combination {
        Combination::Cat => {
            let a = |s: &Summand| s.lora.a.val().detach() * s.weight;
            let b = |s: &Summand| s.lora.b.val().detach();
            (
                Tensor::cat(summands.iter().map(a).collect(), 1),
                Tensor::cat(summands.iter().map(b).collect(), 0),
            )
        }
        Combination::Linear => {
            if let Some(other) = summands.iter().find(|s| s.lora.rank() != first.lora.rank()) {
                return Err(PeftError::NoSum {
                    module: module.to_string(),
                    reason: format!(
                        "ranks {} and {} have no linear combination: choose cat",
                        first.lora.rank(),
                        other.lora.rank()
                    ),
                });
            }
            let root = |s: &Summand| s.weight.abs().sqrt();
            let a = |s: &Summand| s.lora.a.val().detach() * root(s) * s.weight.signum();
            let b = |s: &Summand| s.lora.b.val().detach() * root(s);
            (sum(summands.iter().map(a)), sum(summands.iter().map(b)))
        }
    };
    Ok(Some(Lora::new(a, b, 1.0)))
}

fn sum(tensors: impl Iterator<Item = Tensor<2>>) -> Tensor<2> {
    let sum = tensors.reduce(|sum, tensor| sum + tensor);
    sum.expect("a module with a sum has a summand")
}

/// Returns the configuration of adapters of these ranks with a scale of 1.
fn config(ranks: &[(String, usize)]) -> LoraConfig {
    let largest = ranks.iter().map(|(_, rank)| *rank).max().unwrap_or(1);
    let names = ranks.iter().map(|(module, _)| module.as_str());
    let mut config = LoraConfig::new(largest)
        .with_alpha(largest as f64)
        .with_targets(TargetModules::names(names));
    for (module, rank) in ranks.iter().filter(|(_, rank)| *rank != largest) {
        let key = regex::escape(module);
        config.rank_pattern.insert(key.clone(), *rank);
        config.alpha_pattern.insert(key, *rank as f64);
    }
    config
}
