use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::{
    base::bounds::{OutOfBounds, assert_valid},
    ops::{BLOCK, FourBitFormat, FourBitType},
};

/// Quantization of frozen weights to 4 bits in bitsandbytes' format, for QLoRA.
///
/// A missing field has its value of [QLoRA](https://arxiv.org/abs/2305.14314): NF4 in blocks of 64, double
/// quantized. (`Linear4bit` of bitsandbytes has FP4 unless told otherwise.)
///
/// # Example
///
/// ```
/// use bitnet_burn::quant::{FourBitConfig, FourBitType};
///
/// let config = FourBitConfig::default();
/// assert_eq!(config.to_string(), "nf4 in blocks of 64, double quantized");
/// assert_eq!(config.bits_per_weight(), 4.126953125);
/// let config = FourBitConfig::new(FourBitType::Fp4).with_double_quant(false);
/// let json = serde_json::to_string(&config).unwrap();
/// assert_eq!(json, r#"{"quant_type":"fp4","block_size":64,"double_quant":false}"#);
/// assert_eq!(serde_json::from_str::<FourBitConfig>(&json).unwrap(), config);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FourBitConfig {
    /// Codes: `"nf4"` or `"fp4"`.
    #[serde(with = "Name")]
    pub quant_type: FourBitType,
    /// Number of values that share an absolute maximum: a power of two from 32 to 4096.
    #[serde(deserialize_with = "deserialize_block_size")]
    pub block_size: usize,
    /// Quantizes the absolute maxima to 8 bits (`compress_statistics` of bitsandbytes).
    pub double_quant: bool,
}

/// Names of the codes in files, those of bitsandbytes.
#[derive(Serialize, Deserialize)]
#[serde(remote = "FourBitType", rename_all = "snake_case")]
enum Name {
    Nf4,
    Fp4,
}

impl FourBitConfig {
    /// Creates blocks of 64 codes, double quantized.
    pub fn new(quant_type: FourBitType) -> Self {
        Self {
            quant_type,
            ..Self::default()
        }
    }

    /// Sets the size of a block.
    ///
    /// # Panics
    ///
    /// If it is not a power of two from 32 to 4096.
    #[track_caller]
    #[must_use]
    pub fn with_block_size(mut self, block_size: usize) -> Self {
        assert_valid(check_block_size(block_size));
        self.block_size = block_size;
        self
    }

    /// Sets whether the absolute maxima are quantized, too.
    #[must_use]
    pub fn with_double_quant(mut self, double_quant: bool) -> Self {
        self.double_quant = double_quant;
        self
    }

    /// Checks the values, which may have been set without the methods.
    pub(crate) fn validate(&self) -> Result<(), OutOfBounds> {
        check_block_size(self.block_size)
    }

    /// Returns the format of the codes.
    pub fn format(&self) -> FourBitFormat {
        FourBitFormat {
            quant_type: self.quant_type,
            block_size: self.block_size,
        }
    }

    /// Returns the bits per value of a large weight: 4 and its part of the absolute maxima.
    pub fn bits_per_weight(&self) -> f64 {
        let of_block = match self.double_quant {
            true => 8.0 + 32.0 / BLOCK as f64,
            false => 32.0,
        };
        4.0 + of_block / self.block_size as f64
    }
}

impl Default for FourBitConfig {
    fn default() -> Self {
        Self {
            quant_type: FourBitType::Nf4,
            block_size: 64,
            double_quant: true,
        }
    }
}

impl fmt::Display for FourBitConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.quant_type.name();
        write!(f, "{name} in blocks of {}", self.block_size)?;
        match self.double_quant {
            true => f.write_str(", double quantized"),
            false => Ok(()),
        }
    }
}

fn check_block_size(size: usize) -> Result<(), OutOfBounds> {
    let expected = "a power of two from 32 to 4096";
    OutOfBounds::unless(
        FourBitFormat::has_block_size(size),
        "block_size",
        expected,
        size,
    )
}

fn deserialize_block_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let size = usize::deserialize(deserializer)?;
    check_block_size(size).map_err(D::Error::custom)?;
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_fields_are_those_of_qlora_and_others_refused() {
        let read = serde_json::from_str::<FourBitConfig>;
        assert_eq!(read("{}").unwrap(), FourBitConfig::default());
        for (json, message) in [
            (
                r#"{"block_size": 48}"#,
                "block_size must be a power of two from 32 to 4096, got 48",
            ),
            (r#"{"block_size": 16}"#, "got 16"),
            (
                r#"{"quant_type": "int4"}"#,
                "unknown variant `int4`, expected `nf4` or `fp4`",
            ),
            (r#"{"blocksize": 64}"#, "unknown field `blocksize`"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn bits_per_weight_are_those_of_the_paper() {
        let config = FourBitConfig::default();
        assert_eq!(config.with_double_quant(false).bits_per_weight(), 4.5);
        assert!((config.bits_per_weight() - 4.127).abs() < 1e-4);
    }

    #[test]
    #[should_panic(expected = "block_size must be a power of two from 32 to 4096, got 8192")]
    fn a_block_of_another_size_is_refused() {
        let _ = FourBitConfig::default().with_block_size(8192);
    }
}
