use super::{
    AdaptedLinear, AdapterBase, MergeReport, MergedModule,
    adapter_base::on,
    ends,
    merge_report::{distance, loss},
};
use crate::{nn::BitNetLm, quant::WeightQuantizer};

impl<P: AdapterBase> BitNetLm<AdaptedLinear<P>> {
    /// Merges the active adapters into the weights: returns the model without adapters, and what was lost.
    ///
    /// A latent weight of a [`BitLinear`](crate::nn::BitLinear) takes up the adapter in full, and is quantized with
    /// it from then on. A packed weight is quantized again, by `quantizer` or else with the granularity of
    /// its scales. Of a model whose head is the embedding table, an adapter of either makes two of them.
    /// A weight that no adapter changes is kept: differences of [biases](super::BitFitConfig) are merged without loss.
    ///
    /// An active [`Prompt`](crate::nn::Prompt) is no part of weights, and stays in the model; one that is off is
    /// removed, as adapters are.
    pub fn merge(self, quantizer: Option<&WeightQuantizer>) -> (BitNetLm<P>, MergeReport) {
        let lm = self.without_prompt(|prompt| !prompt.is_active());
        let mut report = MergeReport {
            modules: Vec::new(),
            prompt: (lm.model.prompt.as_ref()).map(|prompt| prompt.name().to_string()),
        };
        let device = lm.model.embed_tokens.weight.device();
        let (lm, ends) = ends::merge(lm);
        report.modules.extend(ends);
        let lm = lm.map_projections(|name, linear| {
            if linear.active().next().is_none() {
                return linear.into_base();
            }
            let (before, expected) = (linear.base.dense_weight(), linear.merged());
            let bias = expected.bias.map(|bias| on(bias, &device));
            let (base, weight) = (linear.base.with_bias(bias), expected.weight);
            // Quantized again, a weight that is as it was would have other scales.
            let merged = match distance(before.clone(), weight.clone()) > 0.0 {
                true => base.with_weight(weight.clone(), quantizer),
                false => base,
            };
            report.modules.push(MergedModule {
                name: name.to_string(),
                loss: loss(before, weight, merged.dense_weight()),
            });
            merged
        });
        (lm, report)
    }
}
