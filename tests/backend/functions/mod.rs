//! Functions on tensors against scalar references.

mod absmax;
mod bit_linear;
mod causal_attention;
mod causal_attention_reference;
mod four_bit;
mod four_bit_linear;
mod frozen_linear;
mod gated_activation;
mod group_layouts;
mod hadamard;
mod linear_cross_entropy;
mod low_rank_sum;
mod packed_gradient;
mod packing;
mod rms_norm;
mod rotary_embedding;
mod ternary;
