mod config;
mod filters;
mod generator;
mod model_settings;
mod progress;
mod sampler;
mod stop_sequences;

pub use config::GenerationConfig;
pub use generator::Generator;
pub use model_settings::check_generation_settings;
use progress::Piece;
pub use progress::{FinishReason, GeneratedText};
