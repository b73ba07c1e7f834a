//! BitNet layers and models.
//!
//! Architecture and parameter names follow Hugging Face's `BitNetForCausalLM`, so that its state dict maps
//! one to one: `model.layers.0.self_attn.q_proj.weight` is the same field here (the weight of a norm is
//! `gamma`, as in Burn).
//!
//! Blocks and models are generic over their [`Projection`]: [`BitLinear`] trains, [`PackedBitLinear`]
//! infers from packed weights, and Burn's [`Linear`](burn::nn::Linear) is the full-precision equivalent.

mod attention;
mod bit_linear;
mod bit_linear_config;
mod bitnet_model;
mod block_checkpoints;
mod block_seeds;
mod causal_lm;
mod causal_lm_config;
mod decoder_layer;
mod decoding;
mod feed_forward;
mod forward_backward;
mod four_bit_lm;
mod gradient_sum;
mod key_values;
mod kv_cache;
mod layer_cache;
mod linear_4bit;
mod low_rank_product;
mod norm;
mod packed_bit_linear;
mod packed_forward;
mod projection;
mod projection_bias;
mod projection_dtype;
mod prompt;
mod prompt_encoder;
mod qk_norm;
mod quantized_product;
mod rope_scaling;
mod rotary_embedding;
mod tied_head;

pub use attention::BitNetAttention;
pub use bit_linear::BitLinear;
pub use bit_linear_config::BitLinearConfig;
pub use bitnet_model::BitNetModel;
pub use causal_lm::BitNetLm;
pub use causal_lm_config::BitNetLmConfig;
pub use decoder_layer::DecoderLayer;
pub use feed_forward::FeedForward;
pub use key_values::KeyValues;
pub use kv_cache::{KvCache, KvCacheConfig};
pub use layer_cache::KvCacheDType;
pub use linear_4bit::Linear4bit;
#[cfg(feature = "peft")]
pub(crate) use low_rank_product::LowRankProduct;
#[cfg(feature = "peft")]
pub(crate) use low_rank_product::LowRankProducts;
#[cfg(not(feature = "peft"))]
use low_rank_product::LowRankProducts;
pub use packed_bit_linear::PackedBitLinear;
pub use packed_forward::PackedForward;
#[cfg(feature = "peft")]
pub(crate) use projection::by_tokens;
pub use projection::{Projection, SavedInput, SavedTensors, TrainableProjection};
pub use projection_bias::ProjectionBias;
pub use prompt::Prompt;
pub(crate) use prompt::PromptKind;
pub use prompt_encoder::PromptEncoder;
pub use qk_norm::QkNorm;
pub use rope_scaling::RopeScaling;
pub use rotary_embedding::{RotaryEmbedding, RotaryEmbeddingConfig};

pub use crate::ops::GatedActivation;
