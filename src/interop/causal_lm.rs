use burn::{
    nn::Linear,
    tensor::{Int, Tensor},
};

use super::UnknownKey;
use crate::{
    nn::{BitLinear, BitNetLm, BitNetLmConfig, Linear4bit, PackedBitLinear},
    quant::QatScheme,
};

/// A language model in one of the forms that files hold it in.
#[derive(Debug, Clone)]
pub enum CausalLm {
    /// In full precision.
    Full(BitNetLm<Linear>),
    /// Latent weights that train quantized, called master weights elsewhere.
    Qat(BitNetLm<BitLinear>),
    /// Packed weights, for inference.
    Packed(BitNetLm<PackedBitLinear>),
    /// Frozen weights of 4 bits, the base of QLoRA.
    FourBit(BitNetLm<Linear4bit>),
}

impl CausalLm {
    /// Logits of the token after each position, as [`BitNetLm::forward`].
    ///
    /// # Shapes
    ///
    /// - tokens: `[batch, positions]`
    /// - output: `[batch, positions, vocab_size]`
    ///
    /// # Panics
    ///
    /// If there are more positions than the model has.
    #[track_caller]
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        match self {
            Self::Full(lm) => lm.forward(tokens),
            Self::Qat(lm) => lm.forward(tokens),
            Self::Packed(lm) => lm.forward(tokens),
            Self::FourBit(lm) => lm.forward(tokens),
        }
    }

    /// Returns the name of the form.
    pub fn form(&self) -> &'static str {
        match self {
            Self::Full(_) => "full precision",
            Self::Qat(_) => "latent weights",
            Self::Packed(_) => "packed",
            Self::FourBit(_) => "4 bits",
        }
    }

    /// Dequantizes weights of 4 bits, as [`BitNetLm::dequantize`]; other models stay as they are.
    #[must_use]
    pub fn dequantize(self) -> Self {
        match self {
            Self::FourBit(lm) => Self::Full(lm.dequantize()),
            other => other,
        }
    }
}

/// A language model of a file, and its architecture.
#[derive(Debug, Clone)]
pub struct PretrainedLm {
    /// The architecture.
    pub config: BitNetLmConfig,
    /// The model.
    pub lm: CausalLm,
    /// Token before the first, where the file names it.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text, where the file names them.
    pub eos_token_ids: Vec<u32>,
    /// Token that fills up shorter sequences of a batch, where the file names it.
    pub pad_token_id: Option<u32>,
    /// Keys of the file that this crate does not know: they may ask for what it does not do.
    pub unknown_keys: Vec<UnknownKey>,
}

impl PretrainedLm {
    /// A model that was trained here.
    pub fn new(config: BitNetLmConfig, lm: CausalLm) -> Self {
        Self {
            config,
            lm,
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            pad_token_id: None,
            unknown_keys: Vec::new(),
        }
    }

    /// Returns the model to fine-tune with the quantizers of a scheme: one with latent weights as
    /// [`BitNetLm::with_scheme`] makes it, one in full precision as [`BitNetLm::into_bitnet`] does, one of 4 bits
    /// [dequantized](CausalLm::dequantize) before; `None` for packed weights, which do not train.
    pub fn into_qat(self, scheme: &QatScheme) -> Option<BitNetLm> {
        match self.lm.dequantize() {
            CausalLm::Full(lm) => Some(lm.into_bitnet(scheme)),
            CausalLm::Qat(lm) => Some(lm.with_scheme(scheme)),
            CausalLm::Packed(_) | CausalLm::FourBit(_) => None,
        }
    }
}
