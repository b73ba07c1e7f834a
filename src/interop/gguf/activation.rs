//! The activation of the feed-forward blocks, which files name or leave to the program.

use super::{GgufError, model_keys::ModelKeys};
use crate::nn::GatedActivation;

/// Key behind the architecture that llama.cpp has for it (`LLM_KV_HIDDEN_ACT`).
pub(super) const KEY: &str = "hidden_activation";
/// Key of files of earlier versions of this crate.
const OWN_KEY: &str = "bitnet_burn.hidden_act";

/// The name in files.
pub(super) fn name(activation: GatedActivation) -> &'static str {
    match activation {
        GatedActivation::Silu => "silu",
        GatedActivation::SquaredRelu => "relu2",
    }
}

fn of_name(name: &str) -> Option<GatedActivation> {
    match name {
        "silu" | "swish" | "swiglu" => Some(GatedActivation::Silu),
        "relu2" | "relu_sqr" | "relu_squared" | "squared_relu" => {
            Some(GatedActivation::SquaredRelu)
        }
        _ => None,
    }
}

/// Activation that the option or the file names; SiLU without a name, as llama.cpp computes,
/// unless programs differ about the architecture.
pub(super) fn read(
    keys: &ModelKeys<'_>,
    option: Option<GatedActivation>,
) -> Result<GatedActivation, GgufError> {
    if let Some(activation) = option {
        return Ok(activation);
    }
    let mut found: Option<(String, GatedActivation)> = None;
    for key in [keys.key(KEY), keys.key("hidden_act"), OWN_KEY.to_string()] {
        let Some(text) = keys.metadata.optional::<&str>(&key)? else {
            continue;
        };
        let unsupported = |supported: &str| GgufError::unsupported(&key, text, supported);
        let activation = of_name(text).ok_or_else(|| unsupported("silu or relu2"))?;
        match &found {
            Some((other, different)) if *different != activation => {
                let supported = format!("{}, which {other} says", name(*different));
                return Err(unsupported(&supported));
            }
            _ => found = Some((key, activation)),
        }
    }
    match found {
        Some((_, activation)) => Ok(activation),
        None if is_ambiguous(keys.name) => Err(GgufError::Activation {
            architecture: keys.name.to_string(),
        }),
        None => Ok(GatedActivation::Silu),
    }
}

/// True for an architecture that programs compute in different ways. bitnet.cpp's fork of llama.cpp had
/// a graph with squared ReLU for these (`build_bitnet_158` in `src/llama.cpp`, of
/// Eddie-Wang1120/llama.cpp) until July 2026, and has one with SiLU since (`src/models/bitnet.cpp`, of
/// isHuangXin/llama.cpp).
fn is_ambiguous(architecture: &str) -> bool {
    matches!(architecture, "bitnet-b1.58" | "bitnet-25")
}
