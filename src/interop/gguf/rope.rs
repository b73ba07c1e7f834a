//! The scaling of rotary positions in the metadata and in `rope_freqs.weight`.

use serde_json::Value;

use super::{GgufError, GgufMetadata, GgufReader, json_value::shortest, model_keys::ModelKeys};
use crate::nn::{BitNetLmConfig, RopeScaling};

/// The tensor of what llama.cpp divides each frequency by.
pub(super) const FACTORS: &str = "rope_freqs.weight";

/// Key of this crate with the scaling as it is configured, which the other keys round.
const OWN_KEY: &str = "bitnet_burn.rope_scaling";

const TYPE: &str = "rope.scaling.type";
const FACTOR: &str = "rope.scaling.factor";
/// The name of the factor in old files.
const SCALE_LINEAR: &str = "rope.scale_linear";

/// What Llama 3.1 and 3.2 were scaled with, but for the factor: the frequencies that were slowed down
/// in full, those that stayed, and the positions of the first training.
const LLAMA3: (f64, f64, usize) = (1.0, 4.0, 8192);

/// The scaling as a file has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WrittenScaling {
    /// Factor of a linear scaling.
    factor: Option<f32>,
    /// Divisors of the frequencies.
    pub factors: Option<Vec<f32>>,
}

impl WrittenScaling {
    /// The scaling of a model, as it is written.
    pub fn of(config: &BitNetLmConfig) -> Self {
        let mut written = Self {
            factor: None,
            factors: None,
        };
        match &config.rope_scaling {
            None => {}
            Some(RopeScaling::Linear { factor }) => written.factor = Some(*factor as f32),
            Some(scaling) => written.factors = Some(factors(config, scaling)),
        }
        written
    }

    pub fn insert(
        &self,
        name: &str,
        config: &BitNetLmConfig,
        metadata: &mut GgufMetadata,
    ) -> Result<(), GgufError> {
        if let Some(factor) = self.factor {
            metadata.insert(format!("{name}.{TYPE}"), "linear")?;
            metadata.insert(format!("{name}.{FACTOR}"), factor)?;
        }
        if let Some(scaling) = &config.rope_scaling {
            let json = serde_json::to_string(scaling).map_err(|error| GgufError::Model {
                reason: format!("the scaling of positions cannot be written: {error}"),
            })?;
            metadata.insert(OWN_KEY, json)?;
        }
        Ok(())
    }
}

/// What llama.cpp divides each frequency by.
fn factors(config: &BitNetLmConfig, scaling: &RopeScaling) -> Vec<f32> {
    let d_head = config.d_model / config.n_heads;
    let frequencies =
        (0..d_head / 2).map(|i| f64::from(config.rope_theta).powf(-2.0 * i as f64 / d_head as f64));
    frequencies.map(|f| (f / scaling.apply(f)) as f32).collect()
}

/// The scaling of a file, for a model that has all else.
///
/// The scaling that this crate wrote is the one as long as the other keys say the same. A factor without
/// a type is linear, and one with the type `none` is nothing, as in llama.cpp.
pub(super) fn read(
    keys: &ModelKeys<'_>,
    reader: &GgufReader,
    config: &BitNetLmConfig,
) -> Result<Option<RopeScaling>, GgufError> {
    let read = written(keys, reader, config)?;
    let own: Option<&str> = keys.metadata.optional(OWN_KEY)?;
    let own = own.and_then(|json| serde_json::from_str::<Value>(json).ok());
    let own = own.and_then(|json| serde_json::from_value::<RopeScaling>(json).ok());
    let says_the_same = |scaling: &RopeScaling| {
        let config = config.clone().with_rope_scaling(Some(scaling.clone()));
        WrittenScaling::of(&config) == read
    };
    if let Some(own) = own.filter(says_the_same) {
        return Ok(Some(own));
    }
    match read {
        WrittenScaling {
            factor: None | Some(1.0),
            factors: None,
        } => Ok(None),
        WrittenScaling {
            factor: Some(factor),
            factors: None,
        } => Ok(Some(RopeScaling::Linear {
            factor: shortest(factor),
        })),
        WrittenScaling {
            factor: None | Some(1.0),
            factors: Some(factors),
        } => of_factors(config, factors).map(Some),
        WrittenScaling { .. } => Err(GgufError::Unsupported {
            key: keys.key(FACTOR),
            found: format!("{:?} beside {FACTORS}", read.factor),
            supported: "one of them".to_string(),
        }),
    }
}

fn written(
    keys: &ModelKeys<'_>,
    reader: &GgufReader,
    config: &BitNetLmConfig,
) -> Result<WrittenScaling, GgufError> {
    let factor = match keys.optional::<f32>(FACTOR)? {
        Some(factor) => Some(factor),
        None => keys.optional::<f32>(SCALE_LINEAR)?,
    };
    // llama.cpp takes 0 for a key that is not there.
    let factor = factor.filter(|factor| *factor != 0.0);
    let factor = match keys.optional::<&str>(TYPE)?.unwrap_or("linear") {
        "none" => None,
        "linear" => factor,
        other => return Err(keys.unsupported(TYPE, other, "none or linear")),
    };
    if let Some(wrong) = factor.filter(|factor| !(factor.is_finite() && *factor > 0.0)) {
        return Err(keys.unsupported(FACTOR, wrong, "a factor above 0"));
    }
    let attention: f32 = keys.optional("rope.scaling.attn_factor")?.unwrap_or(1.0);
    if attention != 1.0 {
        return Err(keys.unsupported("rope.scaling.attn_factor", attention, 1));
    }
    Ok(WrittenScaling {
        factor,
        factors: read_factors(reader, config)?,
    })
}

fn read_factors(
    reader: &GgufReader,
    config: &BitNetLmConfig,
) -> Result<Option<Vec<f32>>, GgufError> {
    let Ok(tensor) = reader.tensor(FACTORS) else {
        return Ok(None);
    };
    let refused = |reason: String| GgufError::Model {
        reason: format!("{FACTORS}: {reason}"),
    };
    let half = config.d_model / config.n_heads / 2;
    let shape = tensor.shape().row_major();
    if shape != [half] {
        return Err(refused(format!("expected shape [{half}], found {shape:?}")));
    }
    let factors = tensor.decode()?;
    match factors.iter().find(|f| !(f.is_finite() && **f > 0.0)) {
        Some(wrong) => Err(refused(format!("a factor is above 0, found {wrong}"))),
        None => Ok(Some(factors)),
    }
}

/// The scaling of Llama 3, if the factors are its ones to rounding.
fn of_factors(config: &BitNetLmConfig, found: Vec<f32>) -> Result<RopeScaling, GgufError> {
    let (low_freq_factor, high_freq_factor, original_max_positions) = LLAMA3;
    let scaling = RopeScaling::Llama3 {
        factor: f64::from(found.iter().copied().fold(1.0, f32::max)),
        low_freq_factor,
        high_freq_factor,
        original_max_positions,
    };
    let expected = factors(config, &scaling);
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 4.0 * f32::EPSILON * a.abs();
    match expected.iter().zip(&found).all(near) {
        true => Ok(scaling),
        false => Err(GgufError::Model {
            reason: format!("{FACTORS}: these are not the factors of Llama 3, others are not read"),
        }),
    }
}
