//! Layers and language models.

mod bit_linear;
mod decoder_variants;
mod degenerate_inputs;
mod from_linear;
mod input_gradient;
mod kv_cache;
mod linear_4bit;
mod oracle_bit_linear;
mod oracle_lm;
mod projection_dtype;
mod prompt;
mod rope_scaling;
mod rotary_embedding;
