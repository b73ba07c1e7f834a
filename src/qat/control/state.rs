use crate::quant::{BitWidth, StaticRange};

/// Settings of a quantizer that schedules and calibrations change during training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::qat) struct ControlState {
    /// Share of the quantized value in the blend with the latent one, 0 to 1.
    pub lambda: f32,
    /// Width that replaces the configured one.
    pub width: Option<BitWidth>,
    /// `true` if each output channel of a weight has its own scale, regardless of the configuration.
    pub per_channel: bool,
    /// `true` if values stay in float for any lambda.
    pub excluded: bool,
    /// Seed of the random numbers of this layer and step.
    pub noise_key: u64,
    /// Step size and zero point from calibration.
    pub range: Option<StaticRange>,
}

/// Number of integers in a record.
pub(in crate::qat) const RECORD_LENGTH: usize = 6;

/// Flag in the width of a record: each output channel of a weight has its own scale.
const PER_CHANNEL: u32 = 1 << 8;

/// Flag in the width of a record: nothing is quantized.
const EXCLUDED: u32 = 1 << 9;

impl Default for ControlState {
    /// Returns the state of a quantizer that is used in full, as configured.
    fn default() -> Self {
        Self {
            lambda: 1.0,
            width: None,
            per_channel: false,
            excluded: false,
            noise_key: 0,
            range: None,
        }
    }
}

impl ControlState {
    /// Returns whether only quantized values are used.
    pub fn is_full(&self) -> bool {
        self.lambda == 1.0 && !self.excluded
    }

    /// Returns whether only values in float are used.
    pub fn is_float(&self) -> bool {
        self.lambda == 0.0 || self.excluded
    }

    /// Returns the state as integers; floats by their bits, so that a record holds them exactly.
    pub fn record(&self) -> [i32; RECORD_LENGTH] {
        let width = match self.width {
            None => 0,
            Some(BitWidth::Ternary) => 1,
            Some(BitWidth::Bits(bits)) => u32::from(bits),
        };
        let flag = |flag: u32, set: bool| if set { flag } else { 0 };
        let flags = flag(PER_CHANNEL, self.per_channel) | flag(EXCLUDED, self.excluded);
        // A step is positive, so that zeros are no range.
        let range = self.range.map_or([0, 0], |range| {
            [range.zero_point.to_bits(), range.step.to_bits()]
        });
        [
            self.lambda.to_bits(),
            width | flags,
            self.noise_key as u32,
            (self.noise_key >> 32) as u32,
            range[0],
            range[1],
        ]
        .map(|bits| bits as i32)
    }

    /// Returns the state of a record.
    pub fn from_record(record: [i32; RECORD_LENGTH]) -> Self {
        let [lambda, width, key_low, key_high, zero_point, step] = record.map(|bits| bits as u32);
        let range = StaticRange {
            step: f32::from_bits(step),
            zero_point: f32::from_bits(zero_point),
        };
        Self {
            lambda: f32::from_bits(lambda),
            width: match width & !(PER_CHANNEL | EXCLUDED) {
                1 => Some(BitWidth::Ternary),
                bits @ 2..=8 => Some(BitWidth::Bits(bits as u8)),
                _ => None,
            },
            per_channel: width & PER_CHANNEL != 0,
            excluded: width & EXCLUDED != 0,
            noise_key: u64::from(key_high) << 32 | u64::from(key_low),
            range: (step != 0 || zero_point != 0).then_some(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_every_state_to_the_last_bit() {
        let range = StaticRange {
            step: f32::MIN_POSITIVE,
            zero_point: -0.1,
        };
        for width in [None, Some(BitWidth::Ternary), Some(BitWidth::Bits(8))] {
            for (per_channel, excluded) in [(false, true), (true, false), (true, true)] {
                let state = ControlState {
                    lambda: 0.1,
                    width,
                    per_channel,
                    excluded,
                    noise_key: 0xfedc_ba98_7654_3210,
                    range: Some(range),
                };
                assert_eq!(ControlState::from_record(state.record()), state);
            }
        }
        let default = ControlState::default();
        assert_eq!(default.record(), [0x3f80_0000, 0, 0, 0, 0, 0]);
        assert_eq!(ControlState::from_record(default.record()), default);
    }
}
