//! GGUF, the file format of [llama.cpp](https://github.com/ggml-org/llama.cpp): its bytes, the types
//! of its tensors and its metadata.
//!
//! Versions 2 and 3 are read, 3 is written, little-endian, as
//! [the format's description](https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) says.
//!
//! [`load`] and [`save`] read and write language models, `load_adapter` and `save_adapter` LoRA adapters (with the
//! feature `peft`). Below them, [`GgufReader`] and [`GgufWriter`] read and
//! write files; [`GgufTensor::decode`] and [`encode`] convert the values of a tensor, [`GgufTensor::decode_ternary`] and
//! [`encode_ternary`] its ternary codes and scales.

pub mod tokenizer;

mod activation;
#[cfg(feature = "peft")]
mod adapter;
mod architecture;
mod block;
mod cursor;
mod error;
mod head;
mod json_value;
mod load;
#[cfg(feature = "peft")]
mod load_adapter;
mod message;
mod metadata;
mod model_config;
mod model_keys;
mod model_tensors;
mod options;
mod reader;
mod rope;
mod rope_heads;
mod save;
#[cfg(feature = "peft")]
mod save_adapter;
mod save_checks;
mod save_metadata;
mod save_tensors;
mod scalar;
mod shape;
mod tensor_info;
mod tensor_problems;
mod tensor_type;
mod typed_value;
mod value;
mod writer;

use architecture::Architecture;
pub use block::{TernaryScales, encode, encode_ternary};
pub use error::GgufError;
pub use load::{load, load_from};
#[cfg(feature = "peft")]
pub use load_adapter::load_adapter;
pub use metadata::GgufMetadata;
pub use options::{LoadOptions, SaveOptions};
pub use reader::{GgufReader, GgufTensor};
pub use save::save;
#[cfg(feature = "peft")]
pub use save_adapter::save_adapter;
pub use shape::GgufShape;
pub use tensor_type::GgmlType;
use value::FromGgufValue;
pub use value::GgufValue;
pub use writer::GgufWriter;
