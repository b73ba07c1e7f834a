#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_docs)]

//! Quantization-aware training of BitNet models for [Burn](https://burn.dev).
//!
//! There are two ways to a model with ternary weights:
//!
//! - **Layers**: [`nn`] has [`BitLinear`](nn::BitLinear) and the blocks and language model of
//!   BitNet b1.58, with ternary weights and 8-bit activations.
//! - **Any Burn model, unchanged**: [`qat::Prepare`] attaches fake quantization to its weights.
//!
//! Both use one [`QatScheme`](quant::QatScheme), for training and for packing the weights to 2 bits. The
//! packed weights are therefore bit for bit those that were trained.
//!
//! # Example
//!
//! ```
//! use bitnet_burn::nn::BitLinearConfig;
//! use burn::tensor::{Device, Distribution, Tensor};
//!
//! let device = Device::default();
//! let layer = BitLinearConfig::new(64, 32).init(&device.clone().autodiff());
//! let packed = layer.pack();
//! let x = Tensor::<2>::random([4, 64], Distribution::Default, &device);
//! assert_eq!(packed.forward(x).dims(), [4, 32]);
//! ```
//!
//! # Modules
//!
//! - [`quant`]: schemes, quantizers of weights and activations, calibration, schedules
//! - [`qat`]: preparing, controlling, converting and analyzing models
//! - [`nn`]: layers and models
//! - [`loss`]: losses of language models and embeddings, regularizers of quantized weights,
//!   distillation from a full-precision teacher
//! - [`monitor`]: quantization error of each layer over a training, as numbers and as an HTML page
//! - [`functions`]: operations on tensors
//! - [`optim`]: optimizers for latent weights, schedules, loss scaling and mixed precision
//! - `peft` (feature `peft`): adapters beside frozen weights
//! - `interop` (feature `interop`): model folders of Hugging Face Transformers, GGUF for llama.cpp
//! - `text` (feature `text`): tokenizers, text data sets, generation
//! - `train` (feature `train`): callbacks, checkpoints, configuration and distillation for Burn's
//!   `Learner`
//!
//! Feature flags select backends as in Burn; see the README.

mod base;
pub mod functions;
#[cfg(feature = "interop")]
pub mod interop;
pub mod loss;
pub mod monitor;
pub mod nn;
mod ops;
pub mod optim;
#[cfg(feature = "peft")]
pub mod peft;
pub mod prelude;
pub mod qat;
pub mod quant;
#[cfg(feature = "text")]
pub mod text;
#[cfg(feature = "train")]
pub mod train;

pub use base::bounds::OutOfBounds;
pub use ops::{DeviceError, device};

/// Code blocks of the README, compiled and run as documentation tests.
#[cfg(all(doctest, feature = "interop"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// Code blocks of the guide, by required features.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../docs/first_day.md")]
    struct FirstDay;

    #[doc = include_str!("../docs/own_model.md")]
    struct OwnModel;

    #[cfg(all(feature = "interop", feature = "text"))]
    #[doc = include_str!("../docs/finetune_llama.md")]
    struct FinetuneLlama;

    #[cfg(all(feature = "interop", feature = "peft"))]
    #[doc = include_str!("../docs/peft.md")]
    struct Adapters;

    #[cfg(feature = "train")]
    #[doc = include_str!("../docs/learner.md")]
    struct TrainingWithLearner;

    #[cfg(feature = "train")]
    #[doc = include_str!("../docs/callbacks.md")]
    struct Callbacks;

    #[cfg(feature = "train")]
    #[doc = include_str!("../docs/memory.md")]
    struct Memory;

    #[cfg(feature = "interop")]
    #[doc = include_str!("../docs/deploy.md")]
    struct Deployment;

    #[doc = include_str!("../docs/quantizer.md")]
    struct OwnQuantizer;
}
