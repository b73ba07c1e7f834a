use core::fmt;

use burn::tensor::FloatDType;

/// What this crate does with the numbers of a type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Support {
    /// Bytes alone.
    Listed,
    /// Decoded to floats.
    Decoded,
    /// Decoded to floats, and encoded.
    Encoded,
    /// As [`Encoded`](Self::Encoded); read and written as codes with scales, too.
    Ternary,
}

use Support::{Decoded, Encoded, Listed, Ternary};

/// What the format says about a type, and what is done with it here.
struct Layout {
    ggml_type: GgmlType,
    id: u32,
    name: &'static str,
    block_len: u64,
    block_bytes: u64,
    support: Support,
}

/// Makes the types of their names, with the number in files, elements and bytes of a block, and what is
/// done with them here.
macro_rules! types {
    ($($(#[$doc:meta])+ $name:ident = $id:literal, $len:literal, $bytes:literal, $support:ident;)+) => {
        /// How the numbers of a tensor are stored in a GGUF file.
        ///
        /// A row is cut into blocks of [`block_len`](Self::block_len) elements that take
        /// [`block_bytes`](Self::block_bytes) bytes each. Of most types no more than that is known here,
        /// which is what listing a file takes; those that are read say so in [`is_decoded`](Self::is_decoded),
        /// those that are written, too, in [`has_codec`](Self::has_codec).
        ///
        /// The numbers are those of
        /// [`enum ggml_type`](https://github.com/ggml-org/llama.cpp/blob/master/ggml/include/ggml.h).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[expect(non_camel_case_types, reason = "the names that ggml gives them")]
        pub enum GgmlType {
            $($(#[$doc])+ $name,)+
        }

        /// In the order of the enum, so that a type is its own place.
        const LAYOUTS: &[Layout] = &[$(Layout {
            ggml_type: GgmlType::$name,
            id: $id,
            name: stringify!($name),
            block_len: $len,
            block_bytes: $bytes,
            support: $support,
        },)+];
    };
}

// As `GGML_QUANT_SIZES` of the Python package `gguf`, with I2_S.
types! {
    /// IEEE single precision.
    F32 = 0, 1, 4, Encoded;
    /// IEEE half precision.
    F16 = 1, 1, 2, Encoded;
    /// 4 bits, a scale for 32 elements.
    Q4_0 = 2, 32, 18, Decoded;
    /// 4 bits, a scale and a minimum for 32 elements.
    Q4_1 = 3, 32, 20, Decoded;
    /// 5 bits, a scale for 32 elements.
    Q5_0 = 6, 32, 22, Decoded;
    /// 5 bits, a scale and a minimum for 32 elements.
    Q5_1 = 7, 32, 24, Decoded;
    /// 8 bits, a scale for 32 elements.
    Q8_0 = 8, 32, 34, Encoded;
    /// 8 bits, a scale and a sum for 32 elements.
    Q8_1 = 9, 32, 40, Listed;
    /// 2 bits, two levels of scales.
    Q2_K = 10, 256, 84, Decoded;
    /// 3 bits, two levels of scales.
    Q3_K = 11, 256, 110, Decoded;
    /// 4 bits, two levels of scales.
    Q4_K = 12, 256, 144, Decoded;
    /// 5 bits, two levels of scales.
    Q5_K = 13, 256, 176, Decoded;
    /// 6 bits, two levels of scales.
    Q6_K = 14, 256, 210, Decoded;
    /// 8 bits, with sums; of activations.
    Q8_K = 15, 256, 292, Listed;
    /// 2.06 bits, codebook.
    IQ2_XXS = 16, 256, 66, Listed;
    /// 2.31 bits, codebook.
    IQ2_XS = 17, 256, 74, Listed;
    /// 3.06 bits, codebook.
    IQ3_XXS = 18, 256, 98, Listed;
    /// 1.56 bits, codebook.
    IQ1_S = 19, 256, 50, Listed;
    /// 4 bits, uneven levels, a scale for 32 elements.
    IQ4_NL = 20, 32, 18, Decoded;
    /// 3.44 bits, codebook.
    IQ3_S = 21, 256, 110, Listed;
    /// 2.5 bits, codebook.
    IQ2_S = 22, 256, 82, Listed;
    /// 4.25 bits, uneven levels, two levels of scales.
    IQ4_XS = 23, 256, 136, Decoded;
    /// Bytes with a sign.
    I8 = 24, 1, 1, Listed;
    /// Integers of 2 bytes.
    I16 = 25, 1, 2, Listed;
    /// Integers of 4 bytes.
    I32 = 26, 1, 4, Listed;
    /// Integers of 8 bytes.
    I64 = 27, 1, 8, Listed;
    /// IEEE double precision.
    F64 = 28, 1, 8, Listed;
    /// 1.75 bits, codebook.
    IQ1_M = 29, 256, 56, Listed;
    /// The upper half of an IEEE single.
    BF16 = 30, 1, 2, Encoded;
    /// Ternary, five digits in a byte: 1.6875 bits.
    TQ1_0 = 34, 256, 54, Ternary;
    /// Ternary, four digits in a byte: 2.0625 bits.
    TQ2_0 = 35, 256, 66, Ternary;
    /// Ternary, of [bitnet.cpp](https://github.com/microsoft/BitNet): four digits in a byte, and one
    /// scale for the tensor.
    ///
    /// bitnet.cpp's fork of ggml gave it the number 36, which means something else in llama.cpp
    /// ([ggml-org/llama.cpp#12997](https://github.com/ggml-org/llama.cpp/issues/12997)). A file
    /// does not say which program wrote it, so it is only read
    /// [on demand](super::LoadOptions::with_i2_s).
    I2_S = 36, 128, 32, Ternary;
    /// 4-bit floats with a shared exponent for 32 elements.
    MXFP4 = 39, 32, 17, Listed;
    /// 4-bit floats with an 8-bit float as scale of 16 elements.
    NVFP4 = 40, 64, 36, Listed;
    /// Signs, a scale for 128 elements.
    Q1_0 = 41, 128, 18, Listed;
}

impl GgmlType {
    /// Every type, in the order of the enum.
    pub(super) const ALL: [Self; LAYOUTS.len()] = {
        let mut all = [Self::F32; LAYOUTS.len()];
        let mut i = 0;
        while i < LAYOUTS.len() {
            all[i] = LAYOUTS[i].ggml_type;
            i += 1;
        }
        all
    };

    /// Bytes behind the blocks of an I2_S tensor, of which the first four are its scale.
    pub(super) const I2_S_TAIL: u64 = 32;

    /// The type with a number, if there is one; 36 is [`I2_S`](Self::I2_S).
    pub fn from_id(id: u32) -> Option<Self> {
        let layout = LAYOUTS.iter().find(|layout| layout.id == id);
        layout.map(|layout| layout.ggml_type)
    }

    /// Number of the type in files.
    pub(super) fn id(self) -> u32 {
        self.layout().id
    }

    /// Name of the type in ggml.
    fn name(self) -> &'static str {
        self.layout().name
    }

    /// Elements of a block, which lie in one row; those of I2_S may lie in two.
    pub const fn block_len(self) -> u64 {
        self.layout().block_len
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> u64 {
        self.layout().block_bytes
    }

    /// Bytes of a tensor of `rows` rows of `row_len` elements.
    ///
    /// `None` if the rows, or for I2_S the tensor, cannot be cut into blocks, or if the number of
    /// bytes is above `u64::MAX`.
    pub fn num_bytes(self, row_len: u64, rows: u64) -> Option<u64> {
        let elements = row_len.checked_mul(rows)?;
        let cut = if self == Self::I2_S {
            elements
        } else {
            row_len
        };
        if !cut.is_multiple_of(self.block_len()) {
            return None;
        }
        let blocks = (elements / self.block_len()).checked_mul(self.block_bytes())?;
        match self {
            Self::I2_S => blocks.checked_add(Self::I2_S_TAIL),
            _ => Some(blocks),
        }
    }

    /// Whether tensors of the type can be encoded and decoded here.
    pub fn has_codec(self) -> bool {
        matches!(self.layout().support, Encoded | Ternary)
    }

    /// Whether tensors of the type can be decoded to floats here, which is more types than can be
    /// encoded.
    pub fn is_decoded(self) -> bool {
        self.layout().support != Listed
    }

    /// The types that are decoded to floats, as a list for an error.
    pub(super) fn decoded() -> String {
        let names = Self::ALL.into_iter().filter(|known| known.is_decoded());
        names.map(Self::name).collect::<Vec<_>>().join(", ")
    }

    /// Whether the elements are codes -1, 0 and 1 with scales.
    pub fn is_ternary(self) -> bool {
        self.layout().support == Ternary
    }

    /// The float type of the elements, if they are stored as such.
    pub(super) fn float_dtype(self) -> Option<FloatDType> {
        match self {
            Self::F32 => Some(FloatDType::F32),
            Self::F16 => Some(FloatDType::F16),
            Self::BF16 => Some(FloatDType::BF16),
            _ => None,
        }
    }

    const fn layout(self) -> &'static Layout {
        &LAYOUTS[self as usize]
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_in_its_place() {
        for (i, layout) in LAYOUTS.iter().enumerate() {
            assert_eq!(layout.ggml_type as usize, i, "{}", layout.name);
            assert_eq!(GgmlType::from_id(layout.id), Some(layout.ggml_type));
            assert_eq!(format!("{:?}", layout.ggml_type), layout.name);
        }
        for id in [4, 5, 31, 32, 33, 37, 38, 42, u32::MAX] {
            assert_eq!(GgmlType::from_id(id), None);
        }
    }
}
