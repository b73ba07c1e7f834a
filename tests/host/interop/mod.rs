//! Files of other programs.

pub mod gguf;
mod hf;
#[cfg(feature = "peft")]
mod peft;
#[cfg(feature = "peft")]
mod peft_bit_fit;
#[cfg(feature = "peft")]
mod peft_damage;
#[cfg(feature = "peft")]
mod peft_ia3;
#[cfg(feature = "peft")]
mod peft_lora;
#[cfg(feature = "peft")]
mod prompts;
