use core::fmt;

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::dtype::dtype_name;
use crate::quant::{FourBitConfig, FourBitType};

/// What `weight_scale` of a packed weight does to the product of its codes.
///
/// Two conventions have the same tensor name and shape; `linear_class` in `quantization_config`, the layer of
/// transformers that holds the weights, tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScaleConvention {
    /// `weight_scale = gamma` (microsoft/bitnet-b1.58-2B-4T). `AutoBitLinear` trains, too. A bias is multiplied with the
    /// product: a file has that of the model divided by the scale.
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

/// `quantization_config` of `config.json`.
#[derive(Debug, Clone, PartialEq, derive_more::From)]
#[non_exhaustive]
pub enum QuantizationConfig {
    /// Of BitNet.
    BitNet(BitNetQuantization),
    /// Weights of 4 bits of bitsandbytes.
    BitsAndBytes(BitsAndBytesQuantization),
}

impl QuantizationConfig {
    /// Returns the quantization of BitNet, if it is that.
    pub fn bitnet(&self) -> Option<&BitNetQuantization> {
        match self {
            Self::BitNet(quantization) => Some(quantization),
            Self::BitsAndBytes(_) => None,
        }
    }

    /// Returns the layers that stay in full precision, and the key that names them.
    pub(super) fn not_converted(&self) -> (&'static str, Option<&[String]>) {
        let (key, patterns) = match self {
            Self::BitNet(q) => (
                "quantization_config.modules_to_not_convert",
                &q.modules_to_not_convert,
            ),
            Self::BitsAndBytes(q) => ("quantization_config.llm_int8_skip_modules", &q.skip_modules),
        };
        (key, patterns.as_deref())
    }

    /// Returns the object of a file.
    pub(super) fn json(&self) -> Value {
        match self {
            Self::BitNet(quantization) => json!(quantization),
            Self::BitsAndBytes(quantization) => quantization.json(),
        }
    }
}

impl fmt::Display for QuantizationConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BitNet(q) => f.write_str(q.quantization_mode.as_deref().unwrap_or("bitnet")),
            Self::BitsAndBytes(q) => {
                let quant_type = q.quant_type.map_or("4 bits", FourBitType::name);
                write!(f, "{quant_type} of bitsandbytes")
            }
        }
    }
}

/// Adds the head to projections in full precision: transformers quantizes that of a list without it.
fn with_head(full_precision: Vec<String>) -> Vec<String> {
    let head = ["lm_head".to_string()].into_iter();
    head.chain(full_precision).collect()
}

/// Quantization of BitNet, as transformers' `BitNetQuantConfig` has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BitNetQuantization {
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

impl BitNetQuantization {
    /// Master weights that train, but for some projections in full precision.
    pub(super) fn online(full_precision: Vec<String>) -> Self {
        Self::new(ScaleConvention::Multiply, "online", full_precision)
    }

    /// Packed weights, but for some projections in full precision.
    pub(super) fn offline(convention: ScaleConvention, full_precision: Vec<String>) -> Self {
        Self::new(convention, "offline", full_precision)
    }

    fn new(linear_class: ScaleConvention, mode: &str, full_precision: Vec<String>) -> Self {
        Self {
            quant_method: "bitnet".to_string(),
            linear_class: Some(linear_class),
            quantization_mode: Some(mode.to_string()),
            use_rms_norm: false,
            modules_to_not_convert: Some(with_head(full_precision)),
        }
    }
}

/// Quantization to 4 bits, as transformers' `BitsAndBytesConfig` has it.
///
/// The quantization of a weight is also beside it, and must be the same.
#[derive(Debug, Clone, PartialEq)]
pub struct BitsAndBytesQuantization {
    /// Codes (`bnb_4bit_quant_type`), where the file says so.
    pub quant_type: Option<FourBitType>,
    /// `true` if the absolute maxima are quantized, too (`bnb_4bit_use_double_quant`), where the file says so.
    pub double_quant: Option<bool>,
    /// Type that transformers multiplies in (`bnb_4bit_compute_dtype`). Here it is that of the input.
    pub compute_dtype: Option<FloatDType>,
    /// Layers that stay in full precision (`llm_int8_skip_modules`), as regular expressions or ends of their
    /// names; `None` for the head alone.
    pub skip_modules: Option<Vec<String>>,
}

impl BitsAndBytesQuantization {
    /// Weights of 4 bits, but for some projections in full precision.
    pub(super) fn new(
        config: FourBitConfig,
        compute_dtype: FloatDType,
        full_precision: Vec<String>,
    ) -> Self {
        let skip = (!full_precision.is_empty()).then(|| with_head(full_precision));
        Self {
            quant_type: Some(config.quant_type),
            double_quant: Some(config.double_quant),
            compute_dtype: Some(compute_dtype),
            skip_modules: skip,
        }
    }

    /// The object that transformers writes.
    fn json(&self) -> Value {
        let compute_dtype = self.compute_dtype.unwrap_or(FloatDType::F32);
        json!({
            "_load_in_4bit": true,
            "_load_in_8bit": false,
            "bnb_4bit_compute_dtype": dtype_name(compute_dtype),
            "bnb_4bit_quant_storage": "uint8",
            "bnb_4bit_quant_type": self.quant_type.unwrap_or(FourBitType::Fp4).name(),
            "bnb_4bit_use_double_quant": self.double_quant.unwrap_or(false),
            "llm_int8_enable_fp32_cpu_offload": false,
            "llm_int8_has_fp16_weight": false,
            "llm_int8_skip_modules": self.skip_modules,
            "llm_int8_threshold": 6.0,
            "load_in_4bit": true,
            "load_in_8bit": false,
            "quant_method": "bitsandbytes",
        })
    }
}
