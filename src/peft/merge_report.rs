use core::fmt;

use burn::tensor::Tensor;

/// Error of the adapters of a module that were merged into its weight.
#[derive(Debug, Clone, PartialEq)]
pub struct MergedModule {
    /// Name, such as `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// `|W' - M| / |M - W|` with the weight before `W` and after `W'`, and with the adapters in it, `M`: 0 if
    /// nothing is lost, 1 if the weight is as wrong as without the adapters.
    pub loss: f64,
}

/// Errors of merging in each adapted module.
///
/// A weight in full precision takes up an adapter but for rounding. One of a few bits is quantized again, which
/// can undo a small adapter: keep the adapter beside it then, choose finer scales, or merge into latent weights and
/// train on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MergeReport {
    /// The adapted modules.
    pub modules: Vec<MergedModule>,
    /// Name of the active prompt, which no weight takes up: the model keeps it.
    pub prompt: Option<String>,
}

impl MergeReport {
    /// Returns the module that lost most.
    pub fn worst(&self) -> Option<&MergedModule> {
        let modules = self.modules.iter();
        modules.max_by(|a, b| a.loss.total_cmp(&b.loss))
    }
}

impl fmt::Display for MergeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(prompt) = &self.prompt {
            write!(f, "the prompt {prompt:?} is not one of weights and stays; ")?;
        }
        let Some(worst) = self.worst() else {
            return f.write_str("no adapter to merge");
        };
        let mean = self.modules.iter().map(|m| m.loss).sum::<f64>() / self.modules.len() as f64;
        write!(
            f,
            "{} modules merged; relative error of the merged adapters {mean:.2e} on average, {:.2e} at most ({})",
            self.modules.len(),
            worst.loss,
            worst.name
        )
    }
}

/// Returns `|W' - M| / |M - W|` of a weight before `W`, with its adapters `M` and as it was merged, `W'`.
pub(super) fn loss(before: Tensor<2>, expected: Tensor<2>, merged: Tensor<2>) -> f64 {
    let (lost, of) = (
        distance(merged, expected.clone()),
        distance(expected, before),
    );
    if of > 0.0 { lost / of } else { 0.0 }
}

/// Returns `|A - B|`.
pub(super) fn distance(a: Tensor<2>, b: Tensor<2>) -> f64 {
    f64::from((a - b).square().sum().into_scalar::<f32>()).sqrt()
}
