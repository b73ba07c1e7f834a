//! Folders of Hugging Face's transformers: `config.json`, safetensors, tokenizer files.
//!
//! [`load`] reads models of the BitNet and Llama families, [`save`] writes folders that transformers
//! loads.

mod biases;
mod checkpoint;
mod config;
mod config_json;
mod dtype;
mod error;
mod exact_values;
mod family;
mod folder;
mod four_bit;
mod head;
mod load;
mod load_checks;
mod not_converted;
mod options;
mod packed_rows;
mod quantization;
mod save;
mod save_checks;
mod saved_tensor;
mod scaled_bias;
mod shards;
mod source;
mod special_tokens;
mod tensors;

pub use biases::place_for_biases;
pub use config::HfConfig;
pub use error::HfError;
#[cfg(feature = "peft")]
pub(in crate::interop) use error::TensorProblem;
pub use family::Family;
pub use load::load;
pub use options::{LoadOptions, SaveOptions, WeightForm};
pub use quantization::ScaleConvention;
pub use save::save;
