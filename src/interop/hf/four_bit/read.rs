//! A weight of the tensors of a folder.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::{
    QuantState,
    suffix::{ABSMAX, NESTED_ABSMAX, NESTED_QUANT_MAP, QUANT_MAP, QUANT_STATE},
};
use crate::{
    functions::{FourBitAbsmax, FourBitTensor},
    interop::{
        architecture::Parameter,
        floats,
        hf::{
            checkpoint::Checkpoint,
            error::TensorProblem,
            tensors::{ExpectedTensor, TensorKind},
        },
    },
    ops::{BLOCK, DynamicMap, FourBitFormat},
    qat::PackedFourBit,
};
use burn::tensor::FloatDType;

/// Difference from a map of bitsandbytes, relative to its value, of one that another version of PyTorch computed.
const ROUNDING_OF_MAPS: f32 = 1e-6;

/// The tensors of a weight; `None` if it has more values than there are numbers.
pub(in crate::interop::hf) fn expected_tensors(
    parameter: &Parameter,
    state: &QuantState,
    checkpoint: &Checkpoint,
) -> Option<Vec<ExpectedTensor>> {
    let name = &parameter.hf;
    let values = parameter.shape[0].checked_mul(parameter.row_len())?;
    let blocks = state.config.format().num_blocks(values);
    let tensor = |suffix: &str, shape: Vec<usize>, kind| ExpectedTensor {
        name: format!("{name}{suffix}"),
        shape,
        kind,
    };
    let quant_state = format!("{QUANT_STATE}{}", state.config.quant_type.name());
    let entry = checkpoint.get(&format!("{name}{quant_state}"))?;
    let (of_absmax, nested) = match state.config.double_quant {
        true => (
            TensorKind::Codes,
            vec![
                tensor(
                    NESTED_ABSMAX,
                    vec![blocks.div_ceil(BLOCK)],
                    TensorKind::Single,
                ),
                tensor(NESTED_QUANT_MAP, vec![256], TensorKind::Single),
            ],
        ),
        false => (TensorKind::Single, Vec::new()),
    };
    let own = [
        tensor(
            "",
            vec![FourBitFormat::num_bytes(values), 1],
            TensorKind::Codes,
        ),
        tensor(ABSMAX, vec![blocks], of_absmax),
        tensor(QUANT_MAP, vec![16], TensorKind::Single),
        // Its text was read.
        tensor(&quant_state, entry.info.shape.clone(), TensorKind::Codes),
    ];
    Some(own.into_iter().chain(nested).collect())
}

/// The tensors of a checkpoint that were checked to be there.
struct Weight<'a> {
    checkpoint: &'a Checkpoint,
    name: &'a str,
    device: &'a Device,
}

/// Reads the codes and absolute maxima of a weight as they are, whose tensors were checked. `dtype` is the type of
/// the values.
pub(in crate::interop::hf) fn read_weight(
    checkpoint: &Checkpoint,
    parameter: &Parameter,
    state: &QuantState,
    dtype: FloatDType,
    device: &Device,
) -> Result<PackedFourBit, TensorProblem> {
    let weight = Weight {
        checkpoint,
        name: &parameter.hf,
        device,
    };
    weight.check_map(QUANT_MAP, state.config.quant_type.values())?;
    let absmax = match state.offset {
        None => FourBitAbsmax::Plain(weight.maxima(ABSMAX)?),
        Some(offset) => {
            weight.check_map(NESTED_QUANT_MAP, DynamicMap::Signed.values())?;
            FourBitAbsmax::DoubleQuantized {
                codes: weight.words(ABSMAX),
                absmax: weight.maxima(NESTED_ABSMAX)?,
                offset: Tensor::from_data([offset], (device, DType::F32)),
            }
        }
    };
    let quantized = FourBitTensor {
        codes: weight.words(""),
        absmax,
        format: state.config.format(),
        shape: [parameter.shape[0], parameter.row_len()],
    };
    Ok(PackedFourBit::from_quantized(quantized, dtype))
}

impl Weight<'_> {
    fn bytes(&self, suffix: &str) -> &[u8] {
        let entry = self.checkpoint.get(&format!("{}{suffix}", self.name));
        self.checkpoint.bytes(entry.expect("checked before"))
    }

    /// Bytes in words, the first in the lowest bits.
    fn words(&self, suffix: &str) -> Tensor<1, Int> {
        let bytes = self.bytes(suffix);
        let words: Vec<u32> = bytes
            .chunks(4)
            .map(|bytes| {
                let mut word = [0; 4];
                word[..bytes.len()].copy_from_slice(bytes);
                u32::from_le_bytes(word)
            })
            .collect();
        let entry = self.checkpoint.get(&format!("{}{suffix}", self.name));
        (self.checkpoint).release(entry.expect("checked before"), 0..bytes.len());
        let length = words.len();
        let data = TensorData::new(words, [length]);
        Tensor::from_data(data, (self.device, DType::U32))
    }

    fn floats(&self, suffix: &str) -> Vec<f32> {
        floats::values(self.bytes(suffix), FloatDType::F32)
    }

    fn problem(&self, suffix: &str, reason: String) -> TensorProblem {
        TensorProblem::Value {
            name: format!("{}{suffix}", self.name),
            reason,
        }
    }

    /// Absolute maxima, which are finite.
    fn maxima(&self, suffix: &str) -> Result<Tensor<1>, TensorProblem> {
        let values = self.floats(suffix);
        match values.iter().position(|value| !value.is_finite()) {
            Some(place) => Err(self.problem(suffix, format!("value {place} is not finite"))),
            None => {
                let length = values.len();
                let data = TensorData::new(values, [length]);
                Ok(Tensor::from_data(data, (self.device, DType::F32)))
            }
        }
    }

    /// Refuses values of codes that are not those of bitsandbytes.
    fn check_map(&self, suffix: &str, expected: &[f32]) -> Result<(), TensorProblem> {
        let found = self.floats(suffix);
        let is_near = |code: &usize| {
            (found[*code] - expected[*code]).abs() <= ROUNDING_OF_MAPS * expected[*code].abs()
        };
        match (0..expected.len()).find(|code| !is_near(code)) {
            None => Ok(()),
            Some(code) => Err(self.problem(
                suffix,
                format!(
                    "code {code} is {}, expected {}",
                    found[code], expected[code]
                ),
            )),
        }
    }
}
