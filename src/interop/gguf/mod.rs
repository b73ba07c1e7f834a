//! GGUF, the file format of [llama.cpp](https://github.com/ggml-org/llama.cpp): its bytes, the types
//! of its tensors and its metadata.
//!
//! Versions 2 and 3 are read, 3 is written, little-endian, as
//! [the format's description](https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) says.
//!
//! [`load`] and [`save`] read and write language models. Below them, [`GgufReader`] and [`GgufWriter`] read and
//! write files; [`GgufTensor::decode`] and [`encode`] convert the values of a tensor, [`GgufTensor::decode_ternary`] and
//! [`encode_ternary`] its ternary codes and scales.

pub mod tokenizer;

mod activation;
mod architecture;
mod block;
mod cursor;
mod error;
mod head;
mod json_value;
mod load;
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
pub use metadata::GgufMetadata;
pub use options::{LoadOptions, SaveOptions};
pub use reader::{GgufReader, GgufTensor};
pub use save::save;
pub use shape::GgufShape;
pub use tensor_type::GgmlType;
use value::FromGgufValue;
pub use value::GgufValue;
pub use writer::GgufWriter;
