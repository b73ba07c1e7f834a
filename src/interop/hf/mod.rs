//! Folders of Hugging Face's transformers: `config.json`, safetensors, tokenizer files.
//!
//! [`load`] reads models of the BitNet and Llama families, [`save`] writes folders that transformers
//! loads.

mod checkpoint;
mod config;
mod config_json;
mod error;
mod family;
mod floats;
mod folder;
mod head;
mod header;
mod load;
mod not_converted;
mod packed_rows;
mod quantization;
mod save;
mod tensors;

pub use config::HfConfig;
pub use error::{HfError, TensorProblem};
pub use family::Family;
pub use load::{LoadOptions, load};
pub use quantization::{LinearClass, QuantizationConfig, ScaleConvention};
pub use save::{SaveOptions, WeightForm, save};
