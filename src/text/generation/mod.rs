mod config;
mod filters;
mod generator;
mod progress;
mod sampler;
mod stop_sequences;

pub use config::GenerationConfig;
pub use generator::Generator;
pub use progress::{FinishReason, GeneratedText, Piece};
pub use sampler::Sampler;
