//! Parameter-efficient fine-tuning (PEFT): adapters beside frozen weights.
//!
//! An [`AdaptedLinear`] is a projection with adapters by name: `y = base(x) + s B(A(dropout(x)))` for
//! [LoRA](LoraConfig), `base(x) + s B(E * A(dropout(x)))` with a value for each direction for
//! [AdaLoRA](AdaLoraConfig), `y = l base(x)` for [(IA)³](Ia3Config), `y = base(x) + d` for [BitFit](BitFitConfig). The
//! base may be any projection of [`nn`](crate::nn): in full precision
//! ([`Linear`](burn::nn::Linear)), in 4 bits ([`Linear4bit`](crate::nn::Linear4bit), QLoRA), trained with quantization
//! ([`BitLinear`](crate::nn::BitLinear)), or packed to 2 bits ([`PackedBitLinear`](crate::nn::PackedBitLinear)). No dense
//! `W + s A B` is formed, and a frozen base has no gradient.
//!
//! [`BitNetLm::with_adapter`](crate::nn::BitNetLm::with_adapter) adapts a language model, also with a trained
//! [`Prompt`](crate::nn::Prompt) in place of adapters: [prefix tuning](PrefixTuningConfig), which without projection is
//! P-tuning v2, [P-tuning](PTuningConfig) and [prompt tuning](PromptTuningConfig). [`Attach`] adapts the `Linear` layers of any Burn model.
//!
//! Names, defaults and rules are those of Hugging Face's [peft](https://huggingface.co/docs/peft); weights
//! have Burn's layout, `A: [d_input, rank]` and `B: [rank, d_output]`.
//!
//! # Example
//!
//! ```
//! use bitnet_burn::{nn::{BitLinear, BitNetLm, BitNetLmConfig}, peft::{LoraConfig, TargetModules}};
//! use burn::{module::Module, tensor::{Device, Int, Tensor}};
//!
//! let device = Device::default().autodiff();
//! let lm: BitNetLm<BitLinear> = BitNetLmConfig::new(64, 32, 2, 4, 48).init(&device);
//! let lora = LoraConfig::new(4).with_targets(TargetModules::AllLinear);
//! let (lm, report) = lm.pack().train().with_adapter("default", lora)?;
//! println!("{report}");
//! assert_eq!(report.modules.len(), 14);
//! let tokens = Tensor::<2, Int>::from_ints([[1, 2, 3]], &device);
//! assert_eq!(lm.forward(tokens).dims(), [1, 3, 64]);
//! # Ok::<(), bitnet_burn::peft::PeftError>(())
//! ```

mod ada_lora;
mod ada_lora_config;
mod adapted_linear;
mod adapter;
mod adapter_base;
mod adapter_method;
mod adapter_report;
mod attach;
mod bit_fit;
mod bit_fit_biases;
mod bit_fit_config;
mod ends;
mod error;
mod ia3;
mod ia3_config;
mod importance;
mod language_model;
mod loftq;
mod lora;
mod lora_config;
mod lora_init;
mod lora_plus;
mod low_rank;
mod merge;
mod merge_report;
mod orthogonality;
mod p_tuning;
mod pattern;
mod peft_config;
mod prefix_tuning;
mod prompt;
mod prompt_host;
mod prompt_tuning;
mod rank_allocator;
mod rank_allocator_record;
mod rank_schedule;
mod targets;
mod trained_beside;
mod trained_directions;
mod weighted_sum;

pub use ada_lora::AdaLora;
pub use ada_lora_config::AdaLoraConfig;
pub use adapted_linear::AdaptedLinear;
pub use adapter::Adapter;
pub use adapter_base::AdapterBase;
use adapter_report::AdaptedModule;
pub use adapter_report::AdapterReport;
pub use attach::{
    AdaptedWeight, Attach, AttachError, Attached, QuantizedPart, detach_adapters, merge_adapters,
};
pub use bit_fit::BitFit;
pub use bit_fit_config::BitFitConfig;
#[cfg(feature = "interop")]
pub(crate) use ends::End;
pub use error::PeftError;
pub use ia3::Ia3;
pub use ia3_config::Ia3Config;
pub use loftq::loftq;
use lora::InitialFactors;
pub use lora::Lora;
pub use lora_config::{LoraBias, LoraConfig};
pub use lora_init::LoraInit;
pub use lora_plus::lora_plus_group;
pub use merge_report::MergeReport;
use merge_report::MergedModule;
pub use p_tuning::PTuningConfig;
pub use peft_config::PeftConfig;
pub use prefix_tuning::{PrefixInit, PrefixTuningConfig};
pub(crate) use prompt_host::PromptSize;
pub use prompt_tuning::{PromptTuningConfig, PromptTuningInit};
pub(crate) use rank_allocator::DirectionGradients;
pub use rank_allocator::RankAllocator;
pub(crate) use rank_allocator_record::RankAllocatorRecord;
use rank_schedule::{RankSchedule, RankStep, kept_directions};
pub use targets::{TargetModules, Targets};
#[cfg(feature = "interop")]
pub(crate) use trained_beside::TrainedBeside;
pub use weighted_sum::Combination;
