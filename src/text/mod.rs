//! Text processing: tokenizers, chat templates, data sets, evaluation and generation.
//!
//! - [`Tokenizer`]: Hugging Face tokenizer files, and a character tokenizer built from a text
//! - [`ChatTemplate`]: the Jinja templates of chat models, with the spans of the assistant's turns
//! - [`dataset`]: documents from text, JSON lines and token files; shuffled, packed and batched for
//!   Burn's `Learner`
//! - [`evaluate`]: loss and perplexity on a text
//! - [`Generator`]: text generation with a [`BitNetLm`](crate::nn::BitNetLm)
//!
//! # Example
//!
//! Tokenize a text, batch the tokens, and generate text with a model:
//!
//! ```
//! # fn main() -> Result<(), bitnet_burn::text::TextError> {
//! use bitnet_burn::{
//!     nn::{BitNetLm, BitNetLmConfig},
//!     text::{GenerationConfig, Generator, Tokenizer, dataset::RandomWindowsConfig},
//! };
//! use burn::tensor::Device;
//!
//! let device = Device::default();
//! let text = "How much wood would a woodchuck chuck?";
//! let tokenizer = Tokenizer::characters(text)?;
//! let tokens = tokenizer.encode(text)?;
//!
//! // Windows of 8 tokens, 4 in a batch.
//! let windows = RandomWindowsConfig::new(8, 4, 100).init(tokens, &device)?;
//! assert_eq!(windows.batch(0)?.inputs.dims(), [4, 8]);
//!
//! let lm: BitNetLm = BitNetLmConfig::new(tokenizer.vocab_size(), 32, 1, 2, 64).init(&device);
//! let config = GenerationConfig::new().with_max_new_tokens(8);
//! let generated = Generator::new(&lm, &tokenizer, config)?.generate(&["a wood"])?;
//! assert!(generated[0].tokens.len() <= 8);
//! # Ok(())
//! # }
//! ```

mod chat;
pub mod dataset;
mod error;
mod evaluation;
mod generation;
mod tokenizer;

pub use crate::base::key_table::UnknownKey;
pub use chat::{ChatMessage, ChatTemplate, Conversation, RenderedChat};
pub use error::TextError;
pub use evaluation::{Evaluation, evaluate};
pub use generation::{
    FinishReason, GeneratedText, GenerationConfig, Generator, check_generation_settings,
};
pub use tokenizer::{TextStream, Tokenizer};
