//! Adapters of the token embedding and of the output head.

use burn::{
    module::{Module, Param, ParamId, list_param_ids},
    nn::Linear,
    tensor::{Device, Distribution, Tensor},
};

use super::{
    AdaptedModule, Lora, LoraConfig, MergedModule, PeftConfig, PeftError, adapter_base::replaced,
    merge_report::loss, targets::Selection,
};
use crate::nn::{BitNetLm, LowRankProduct, LowRankProducts, Projection};

/// The embedding table or the output head of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Embedding,
    Head,
}

impl End {
    pub(crate) const ALL: [Self; 2] = [Self::Embedding, Self::Head];

    /// Returns the name of the module.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Embedding => "model.embed_tokens",
            Self::Head => "lm_head",
        }
    }

    /// Returns the products beside the module.
    pub(crate) fn products<P: Projection>(self, lm: &BitNetLm<P>) -> &LowRankProducts {
        match self {
            Self::Embedding => &lm.model.embed_products,
            Self::Head => &lm.head_products,
        }
    }

    pub(crate) fn products_mut<P: Projection>(self, lm: &mut BitNetLm<P>) -> &mut LowRankProducts {
        match self {
            Self::Embedding => &mut lm.model.embed_products,
            Self::Head => &mut lm.head_products,
        }
    }

    /// Creates the product of a configuration.
    fn product<P: Projection>(
        self,
        lm: &BitNetLm<P>,
        config: &LoraConfig,
        device: &Device,
    ) -> Result<LowRankProduct, PeftError> {
        let unsupported = |what: String| PeftError::UnsupportedEnd {
            module: self.name(),
            what,
        };
        let of_weight = config.init.changes_base() && self == Self::Head;
        if config.use_dora {
            return Err(unsupported("DoRA".to_string()));
        } else if of_weight {
            return Err(unsupported(format!("init {}", config.init)));
        }
        let [vocab, d_model] = lm.model.embed_tokens.weight.shape().dims();
        let (rank, scaling) = config.compile()?.rank_and_scaling(config, self.name());
        let (a, b, dropout) = match self {
            Self::Embedding => {
                let normal = Distribution::Normal(0.0, 1.0);
                let b = Tensor::random([rank, d_model], normal, device);
                (Tensor::zeros([vocab, rank], device), b, 0.0)
            }
            Self::Head => {
                let size = [d_model, vocab];
                config.init.check_rank(self.name(), size, rank)?;
                let (a, b) = config.init.drawn(size, rank, device);
                (a, b, config.dropout)
            }
        };
        let [a, b] = [a, b].map(Param::from_tensor);
        Ok(LowRankProduct::new(a, b, scaling, dropout))
    }
}

impl From<&LowRankProduct> for Lora {
    fn from(product: &LowRankProduct) -> Self {
        let [a, b] = [&product.a, &product.b].map(|factor| factor.val().detach());
        Self::new(a, b, product.scaling)
    }
}

impl From<Lora> for LowRankProduct {
    fn from(lora: Lora) -> Self {
        Self::new(lora.a, lora.b, lora.scaling, lora.dropout.prob)
    }
}

/// Adds an adapter to the ends that a configuration targets; others rest.
pub(super) fn add<P: Projection>(
    lm: &mut BitNetLm<P>,
    name: &str,
    (config, selection): (&PeftConfig, &Selection),
    device: &Device,
) -> Result<Vec<AdaptedModule>, PeftError> {
    set_active(lm, &[]);
    let mut modules = Vec::new();
    for end in End::ALL {
        if !selection.matches_end(end.name()) {
            continue;
        }
        let product = match config {
            PeftConfig::Lora(config) => end.product(lm, config, device)?,
            other => {
                return Err(PeftError::MethodOfEnd {
                    module: end.name(),
                    method: other.to_string(),
                });
            }
        };
        modules.push(AdaptedModule {
            name: end.name().to_string(),
            num_params: product.num_params(),
        });
        end.products_mut(lm).add(name, product);
    }
    Ok(modules)
}

/// Returns the names of the adapters.
pub(super) fn names<P: Projection>(lm: &BitNetLm<P>) -> impl Iterator<Item = String> {
    End::ALL
        .into_iter()
        .flat_map(|end| end.products(lm).names().map(ToString::to_string))
}

/// Returns the parameters of an adapter.
pub(super) fn ids<P: Projection>(lm: &BitNetLm<P>, name: &str) -> impl Iterator<Item = ParamId> {
    let products = End::ALL
        .into_iter()
        .filter_map(move |end| end.products(lm).get(name));
    products.flat_map(list_param_ids)
}

/// Makes exactly the named adapters active.
pub(super) fn set_active<P: Projection>(lm: &mut BitNetLm<P>, names: &[&str]) {
    for end in End::ALL {
        end.products_mut(lm).set_active(names);
    }
}

/// Removes the adapter of a name, or all.
pub(super) fn remove<P: Projection>(lm: &mut BitNetLm<P>, name: Option<&str>) {
    for end in End::ALL {
        let products = end.products_mut(lm);
        match name {
            Some(name) => drop(products.remove(name)),
            None => *products = LowRankProducts::default(),
        }
    }
}

/// Merges the active adapters into table and head, which are two from then on if they were one, and removes all.
pub(super) fn merge<P: Projection>(mut lm: BitNetLm<P>) -> (BitNetLm<P>, Vec<MergedModule>) {
    let is_active = |end: &End| end.products(&lm).active().next().is_some();
    let active: Vec<End> = End::ALL.into_iter().filter(is_active).collect();
    if !active.is_empty() {
        lm = lm.with_own_head();
    }
    let mut merged = Vec::new();
    for end in active {
        let matrices = end.products(&lm).active().map(LowRankProduct::matrix);
        let change = matrices
            .map(Tensor::without_autodiff)
            .reduce(|sum, m| sum + m);
        let weight = match (end, &mut lm.lm_head) {
            (End::Head, Some(Linear { weight, .. })) => weight,
            _ => &mut lm.model.embed_tokens.weight,
        };
        let value = |weight: &Param<Tensor<2>>| {
            weight
                .val()
                .without_autodiff()
                .cast(burn::tensor::DType::F32)
        };
        let before = value(weight);
        let expected = change.map_or_else(|| before.clone(), |change| before.clone() + change);
        *weight = replaced(weight.clone(), expected.clone());
        merged.push(MergedModule {
            name: end.name().to_string(),
            loss: loss(before, expected, value(weight)),
        });
    }
    remove(&mut lm, None);
    (lm, merged)
}
