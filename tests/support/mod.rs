//! Values, comparisons, models and files for the tests.

#[cfg(feature = "peft")]
pub mod ada_lora;
#[cfg(feature = "train")]
pub mod callbacks;
pub mod damage;
pub mod loss_reference;
pub mod models;
pub mod oracle;
pub mod products;
#[cfg(all(feature = "text", feature = "train"))]
pub mod steps;
pub mod tiny_bitnet;
#[cfg(feature = "train")]
pub mod training;
pub mod transformer_reference;
#[cfg(feature = "train")]
pub mod unusual_config;
pub mod values;
