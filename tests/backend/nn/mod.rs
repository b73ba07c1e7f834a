//! Layers and language models.

mod decoder_variants;
mod degenerate_inputs;
mod from_linear;
mod kv_cache;
mod oracle_bit_linear;
mod oracle_lm;
