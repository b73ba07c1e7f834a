//! Biases that folders have a place for.

use super::{Family, HfError};
use crate::nn::{BitNetLmConfig, ProjectionBias};

/// Returns the biases with which a model can be [saved](super::save) that is to have those of `needed` beside its own: the
/// fewest of an architecture with the other parts of the model. `config.json` names kinds of projections:
/// a model with a bias of its queries may need those of all projections of the attention.
///
/// # Errors
///
/// [`HfError`] if the architectures of such a model have no place for the biases.
///
/// # Example
///
/// ```
/// use bitnet_burn::{interop::hf, nn::{BitNetLmConfig, ProjectionBias}};
///
/// let llama = BitNetLmConfig::new(64, 32, 1, 4, 48).with_sub_norm(false);
/// let of_output = ProjectionBias::new(false, true, false);
/// assert_eq!(hf::place_for_biases(&llama, of_output)?, ProjectionBias::ATTENTION);
/// let bitnet = llama.with_sub_norm(true);
/// assert!(hf::place_for_biases(&bitnet, ProjectionBias::new(true, true, true)).is_err());
/// # Ok::<(), hf::HfError>(())
/// ```
pub fn place_for_biases(
    config: &BitNetLmConfig,
    needed: ProjectionBias,
) -> Result<ProjectionBias, HfError> {
    let own = config.bias;
    let needed = ProjectionBias::new(
        own.qkv || needed.qkv,
        own.output || needed.output,
        own.feed_forward || needed.feed_forward,
    );
    let problem = |bias: ProjectionBias| {
        let config = config.clone().with_bias(bias);
        Family::for_config(&config).problem(&config)
    };
    let mut wider = supersets(needed);
    match wider.find(|bias| problem(*bias).is_none()) {
        Some(bias) => Ok(bias),
        None => Err(HfError::unwritable(problem(needed).unwrap_or_default())),
    }
}

/// Returns the biases that have all of `needed`, those with the fewest first.
fn supersets(needed: ProjectionBias) -> impl Iterator<Item = ProjectionBias> {
    let ProjectionBias {
        qkv,
        output,
        feed_forward,
    } = needed;
    [
        needed,
        ProjectionBias::new(true, output, feed_forward),
        ProjectionBias::new(qkv, true, feed_forward),
        ProjectionBias::new(qkv, output, true),
        ProjectionBias::new(true, true, feed_forward),
        ProjectionBias::new(true, output, true),
        ProjectionBias::new(qkv, true, true),
        ProjectionBias::new(true, true, true),
    ]
    .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::QkNorm;

    #[test]
    fn the_fewest_biases_of_an_architecture_are_added() {
        let bias = ProjectionBias::new;
        let llama = || BitNetLmConfig::new(64, 32, 1, 4, 48).with_sub_norm(false);
        for (config, needed, expected) in [
            (llama(), bias(false, false, false), ProjectionBias::NONE),
            (llama(), bias(true, false, false), ProjectionBias::QKV),
            (llama(), bias(false, true, false), ProjectionBias::ATTENTION),
            (llama(), bias(false, false, true), bias(false, false, true)),
            (llama(), bias(true, false, true), bias(true, true, true)),
            (
                llama().with_bias(ProjectionBias::QKV),
                bias(false, true, false),
                ProjectionBias::ATTENTION,
            ),
            (
                llama().with_sub_norm(true),
                bias(true, false, false),
                ProjectionBias::ATTENTION,
            ),
        ] {
            assert_eq!(place_for_biases(&config, needed).unwrap(), expected);
        }
        let qwen3 = llama().with_qk_norm(QkNorm::PerHead);
        let of_llama = "LlamaForCausalLM has not the norms of queries and keys of this model";
        for (config, message) in [
            (
                llama().with_sub_norm(true),
                "has not the biases of this model",
            ),
            // No architecture with such norms has them, so the message is that of the one with any bias.
            (qwen3, of_llama),
        ] {
            let error = place_for_biases(&config, bias(false, false, true)).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
