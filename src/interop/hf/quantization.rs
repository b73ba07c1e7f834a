use serde::{Deserialize, Serialize};

/// What `weight_scale` of a packed weight does to the product of its codes.
///
/// Two conventions have the same tensor name and shape; `linear_class` in `quantization_config`, the layer of
/// transformers that holds the weights, tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScaleConvention {
    /// `weight_scale = gamma` (microsoft/bitnet-b1.58-2B-4T). `AutoBitLinear` trains, too.
    #[serde(rename = "autobitlinear")]
    Multiply,
    /// `weight_scale = 1 / gamma` (HF1BitLLM, Falcon3, Falcon-E, onebitllms). `BitLinear` is for inference.
    #[serde(rename = "bitlinear")]
    Divide,
}

impl ScaleConvention {
    /// The scale of the codes.
    pub(super) fn gamma(self, weight_scale: f32) -> f32 {
        match self {
            Self::Multiply => weight_scale,
            Self::Divide => weight_scale.recip(),
        }
    }

    /// What is written for a scale of the codes.
    pub(super) fn weight_scale(self, gamma: f32) -> f32 {
        match self {
            Self::Multiply => gamma,
            Self::Divide => gamma.recip(),
        }
    }
}

/// `quantization_config` of `config.json`, as transformers' `BitNetQuantConfig` has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuantizationConfig {
    /// `bitnet`.
    pub quant_method: String,
    /// The layer by what its scale does; old files leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linear_class: Option<ScaleConvention>,
    /// `online` quantizes master weights in each pass, `offline` holds packed ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization_mode: Option<String>,
    /// Whether layers normalize their input themselves.
    #[serde(default)]
    pub use_rms_norm: bool,
    /// Layers that stay in full precision, as regular expressions or ends of their names; `None` for the
    /// head alone.
    #[serde(default)]
    pub modules_to_not_convert: Option<Vec<String>>,
}

impl QuantizationConfig {
    /// Master weights that train, but for some projections in full precision.
    pub(super) fn online(full_precision: Vec<String>) -> Self {
        Self::new(ScaleConvention::Multiply, "online", full_precision)
    }

    /// Packed weights, but for some projections in full precision.
    pub(super) fn offline(convention: ScaleConvention, full_precision: Vec<String>) -> Self {
        Self::new(convention, "offline", full_precision)
    }

    fn new(linear_class: ScaleConvention, mode: &str, full_precision: Vec<String>) -> Self {
        let not_converted = ["lm_head".to_string()].into_iter().chain(full_precision);
        Self {
            quant_method: "bitnet".to_string(),
            linear_class: Some(linear_class),
            quantization_mode: Some(mode.to_string()),
            use_rms_norm: false,
            modules_to_not_convert: Some(not_converted.collect()),
        }
    }
}
