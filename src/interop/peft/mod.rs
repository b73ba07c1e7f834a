//! Adapter folders of Hugging Face's [peft](https://huggingface.co/docs/peft): `adapter_config.json` and
//! `adapter_model.safetensors` with LoRA, rsLoRA, DoRA, AdaLoRA and (IA)³ adapters of language models, and the biases and whole
//! modules (`modules_to_save`) that train beside them; and with prompts (prefix tuning, P-tuning, prompt tuning), whose
//! encoders are replaced by the values that they compute.
//!
//! # Example
//!
//! ```no_run
//! use bitnet_burn::{interop::{CausalLm, hf, peft}, nn::BitNetLm};
//! use burn::{nn::Linear, tensor::Device};
//!
//! let device = Device::default();
//! let CausalLm::Full(lm) = hf::load("llama", &hf::LoadOptions::new(), &device)?.lm else {
//!     panic!("a model in full precision");
//! };
//! let adapter = peft::load("adapter")?;
//! let lm = adapter.attach(lm, "default")?;
//! peft::save("copy", &lm, "default", &adapter.config)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ada_lora;
mod beside;
mod config_json;
mod ends;
mod error;
mod fields;
mod ia3;
mod load;
mod lora;
mod prompts;
mod reader;
mod save;
mod sizes;
mod targets;
mod tensors;

use crate::peft::PeftConfig;

pub use error::PeftFileError;
pub use load::{AdapterFolder, load};
pub use save::save;

/// File of the configuration.
const CONFIG_FILE: &str = "adapter_config.json";
/// File of the tensors.
const MODEL_FILE: &str = "adapter_model.safetensors";
/// Name of the tensor of a prompt.
const PROMPT_TENSOR: &str = "prompt_embeddings";
/// Prefix of the names of tensors of adapters, in which peft wraps the projections of a model.
const PREFIX: &str = "base_model.model.";

/// Returns the prefix of the names of tensors. peft does not wrap a model with a prompt once more.
fn prefix(config: &PeftConfig) -> &'static str {
    match config.targets() {
        Some(_) => PREFIX,
        None => "base_model.",
    }
}
