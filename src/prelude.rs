//! Commonly used types, for `use bitnet_burn::prelude::*`.
//!
//! ```
//! use bitnet_burn::prelude::*;
//! use burn::tensor::{Device, Tensor};
//!
//! let device = Device::default();
//! let layer = BitLinearConfig::new(64, 32).with_scheme(QatScheme::b1_58()).init(&device);
//! assert_eq!(layer.pack().forward(Tensor::<2>::ones([4, 64], &device)).dims(), [4, 32]);
//! ```

pub use crate::{
    nn::{
        BitLinear, BitLinearConfig, BitNetLm, BitNetLmConfig, PackedBitLinear, PackedForward,
        Projection,
    },
    qat::{PackedModel, Prepare, QuantControls, convert},
    quant::{ActivationQuantizer, QatScheme, WeightGranularity, WeightQuantizer},
};

#[cfg(feature = "interop")]
pub use crate::interop::{CausalLm, PretrainedLm};
#[cfg(feature = "text")]
pub use crate::text::{GenerationConfig, Generator, Tokenizer};
#[cfg(all(feature = "text", feature = "train"))]
pub use crate::train::LanguageModel;
#[cfg(feature = "train")]
pub use crate::train::{Trained, Trainer, config::TrainingConfig};
