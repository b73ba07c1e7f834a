//! The scaling of rotary positions in the metadata and in `rope_freqs.weight`.

use super::{
    Architecture, GgufError, GgufMetadata, GgufReader, model_keys::ModelKeys, scalar::shortest,
};
use crate::nn::{BitNetLmConfig, RopeScaling};

/// The tensor of what llama.cpp divides each frequency by.
pub(super) const FACTORS: &str = "rope_freqs.weight";

/// Key of this crate with the scaling as it is configured, which the other keys round.
const OWN_KEY: &str = "bitnet_burn.rope_scaling";

const TYPE: &str = "rope.scaling.type";
const FACTOR: &str = "rope.scaling.factor";
/// The name of the factor in old files.
const SCALE_LINEAR: &str = "rope.scale_linear";
/// What cosines and sines are multiplied with, beside what YaRN does.
const ATTENTION: &str = "rope.scaling.attn_factor";
const ORIGINAL: &str = "rope.scaling.original_context_length";

/// Turns at which the ramp of YaRN begins and ends: llama.cpp reads no others for these architectures.
const BETA: [f64; 2] = [32.0, 1.0];

/// What Llama 3.1 and 3.2 were scaled with, but for the factor: the frequencies that were slowed down
/// in full, those that stayed, and the positions of the first training.
const LLAMA3: (f64, f64, usize) = (1.0, 4.0, 8192);

/// The scaling as a file has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WrittenScaling {
    /// Positions of the first training and ramp of YaRN.
    yarn: Option<(usize, [f64; 2])>,
    /// What all frequencies are divided by.
    factor: Option<f32>,
    attention: f32,
    /// What each frequency is divided by.
    pub factors: Option<Vec<f32>>,
}

impl WrittenScaling {
    /// The scaling of a model, as it is written.
    pub fn of(config: &BitNetLmConfig) -> Self {
        let mut written = Self {
            yarn: None,
            factor: None,
            attention: 1.0,
            factors: None,
        };
        match &config.rope_scaling {
            None => {}
            Some(RopeScaling::Linear { factor }) => written.factor = Some(*factor as f32),
            Some(
                scaling @ RopeScaling::Yarn {
                    factor,
                    original_max_positions,
                    beta_fast,
                    beta_slow,
                    ..
                },
            ) => {
                written.yarn = Some((*original_max_positions, [*beta_fast, *beta_slow]));
                written.factor = Some(*factor as f32);
                written.attention = (scaling.attention_factor() / magnitude(*factor)) as f32;
            }
            Some(scaling) => {
                written.factors = Some(divisors(config));
                written.attention = scaling.attention_factor() as f32;
            }
        }
        written
    }

    pub fn insert(
        &self,
        name: &str,
        scaling: Option<&RopeScaling>,
        metadata: &mut GgufMetadata,
    ) -> Result<(), GgufError> {
        if let Some(factor) = self.factor {
            let kind = if self.yarn.is_some() {
                "yarn"
            } else {
                "linear"
            };
            metadata.insert(format!("{name}.{TYPE}"), kind)?;
            metadata.insert(format!("{name}.{FACTOR}"), factor)?;
        }
        if let Some((original, _)) = self.yarn {
            let original = u32::try_from(original);
            let original = original
                .map_err(|_| GgufError::model(format!("{ORIGINAL} does not fit 32 bits")))?;
            metadata.insert(format!("{name}.{ORIGINAL}"), original)?;
        }
        if self.attention != 1.0 {
            metadata.insert(format!("{name}.{ATTENTION}"), self.attention)?;
        }
        if let Some(scaling) = scaling {
            let json = serde_json::to_string(scaling);
            let json = json
                .map_err(|error| GgufError::model(format!("the scaling of positions: {error}")))?;
            metadata.insert(OWN_KEY, json)?;
        }
        Ok(())
    }
}

/// What YaRN multiplies cosines and sines with for a factor, if a model does not say another.
fn magnitude(factor: f64) -> f64 {
    match factor > 1.0 {
        true => 0.1 * factor.ln() + 1.0,
        false => 1.0,
    }
}

/// What llama.cpp divides each frequency by.
fn divisors(config: &BitNetLmConfig) -> Vec<f32> {
    let scaled = config.rotary().frequencies();
    let plain = config.rotary().with_scaling(None).frequencies();
    let divisors = plain.iter().zip(scaled).map(|(f, scaled)| f / scaled);
    divisors.map(|divisor| divisor as f32).collect()
}

/// Refuses a scaling that llama.cpp does not compute for an architecture.
pub(super) fn check(config: &BitNetLmConfig, architecture: Architecture) -> Result<(), GgufError> {
    let name = architecture.name();
    match &config.rope_scaling {
        None | Some(RopeScaling::Linear { .. }) => Ok(()),
        Some(RopeScaling::Yarn {
            beta_fast,
            beta_slow,
            truncate,
            ..
        }) => match [*beta_fast, *beta_slow] == BETA && *truncate {
            true => Ok(()),
            false => Err(GgufError::model(format!(
                "YaRN has beta_fast {beta_fast}, beta_slow {beta_slow} and truncate {truncate}, and \
                 llama.cpp takes 32, 1 and true for {name}"
            ))),
        },
        Some(_) if architecture.has_rope_factors() => Ok(()),
        Some(scaling) => Err(GgufError::model(format!(
            "llama.cpp's {name} has no rope scaling of llama3 or longrope, and the model has {scaling:?}"
        ))),
    }
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
    let with = |scaling| config.clone().with_rope_scaling(Some(scaling));
    let own: Option<&str> = keys.metadata.optional(OWN_KEY)?;
    let own = own.and_then(|json| serde_json::from_str::<RopeScaling>(json).ok());
    let own = own.filter(|own| {
        let fits = own.problem(config.max_positions, config.rotary().rotary_size());
        fits.is_none() && WrittenScaling::of(&with(own.clone())) == read
    });
    if own.is_some() {
        return Ok(own);
    }
    let factor = shortest(read.factor.unwrap_or(1.0));
    if let Some((original_max_positions, [beta_fast, beta_slow])) = read.yarn {
        if read.factors.is_some() {
            return Err(GgufError::model(format!(
                "{FACTORS}: not read beside {TYPE} yarn"
            )));
        }
        let attention = magnitude(factor) * shortest(read.attention);
        return Ok(Some(RopeScaling::Yarn {
            factor,
            original_max_positions,
            beta_fast,
            beta_slow,
            truncate: true,
            attention_factor: (read.attention != 1.0).then_some(attention),
            mscale: None,
            mscale_all_dim: None,
        }));
    }
    match read.factors {
        None if read.attention == 1.0 => {
            Ok((factor != 1.0).then_some(RopeScaling::Linear { factor }))
        }
        Some(found) if read.attention == 1.0 && factor == 1.0 && is_llama3(config, &found) => {
            Ok(Some(llama3(&found)))
        }
        factors => {
            let pairs = config.rotary().rotary_size() / 2;
            let factors = factors.unwrap_or_else(|| vec![1.0; pairs]);
            let factors: Vec<f64> = factors.iter().map(|f| factor * f64::from(*f)).collect();
            Ok(Some(RopeScaling::Longrope {
                long_factor: factors.clone(),
                short_factor: factors,
                original_max_positions: config.max_positions,
                attention_factor: shortest(read.attention),
            }))
        }
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
    let (factor, yarn) = match keys.optional::<&str>(TYPE)?.unwrap_or("linear") {
        "none" => (None, None),
        "linear" => (factor, None),
        "yarn" => (factor.or(Some(1.0)), Some(yarn(keys, config, factor)?)),
        other => return Err(keys.unsupported(TYPE, other, "none, linear or yarn")),
    };
    let attention: f32 = keys.optional(ATTENTION)?.unwrap_or(1.0);
    for (key, value) in [(FACTOR, factor), (ATTENTION, Some(attention))] {
        if let Some(found) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
            return Err(keys.unsupported(key, found, "a factor above 0"));
        }
    }
    Ok(WrittenScaling {
        yarn,
        factor,
        attention,
        factors: factors(reader, config)?,
    })
}

/// Positions of the first training, and the ramp.
fn yarn(
    keys: &ModelKeys<'_>,
    config: &BitNetLmConfig,
    factor: Option<f32>,
) -> Result<(usize, [f64; 2]), GgufError> {
    // llama.cpp reads these for other architectures alone, and with another meaning for some.
    let log_multiplier = "rope.scaling.yarn_log_multiplier";
    if let Some(found) = keys.float(log_multiplier)?.filter(|found| *found != 0.0) {
        return Err(keys.unsupported(log_multiplier, found, 0));
    }
    let mix = "rope.scaling.yarn_ext_factor";
    if let Some(found) = keys.float(mix)?.filter(|found| *found != 1.0) {
        return Err(keys.unsupported(mix, found, 1));
    }
    let attention = "rope.scaling.yarn_attn_factor";
    let expected = magnitude(factor.map_or(1.0, f64::from));
    if let Some(found) = keys
        .float(attention)?
        .filter(|a| (a - expected).abs() > 1e-5)
    {
        let supported = format!("{expected}, which follows from the factor");
        return Err(keys.unsupported(attention, found, supported));
    }
    let mut beta = BETA;
    for (beta, key) in beta.iter_mut().zip(["yarn_beta_fast", "yarn_beta_slow"]) {
        let key = format!("rope.scaling.{key}");
        if let Some(found) = keys.float(&key)? {
            if !(found.is_finite() && found > 0.0) {
                return Err(keys.unsupported(&key, found, "a number of turns above 0"));
            }
            *beta = found;
        }
    }
    let original = keys.optional::<usize>(ORIGINAL)?.filter(|n| *n != 0);
    let context = keys.optional::<usize>("context_length")?;
    Ok((original.or(context).unwrap_or(config.max_positions), beta))
}

fn factors(reader: &GgufReader, config: &BitNetLmConfig) -> Result<Option<Vec<f32>>, GgufError> {
    let Ok(tensor) = reader.tensor(FACTORS) else {
        return Ok(None);
    };
    let pairs = config.rotary().rotary_size() / 2;
    let shape = tensor.shape().row_major();
    if shape != [pairs] {
        return Err(GgufError::model(format!(
            "{FACTORS}: expected shape [{pairs}], found {shape:?}"
        )));
    }
    let factors = tensor.decode()?;
    match factors.iter().find(|f| !(f.is_finite() && **f > 0.0)) {
        Some(found) => Err(GgufError::model(format!(
            "{FACTORS}: a factor is above 0, found {found}"
        ))),
        None => Ok(Some(factors)),
    }
}

/// The scaling of Llama 3 with the factor of the slowest frequency.
fn llama3(factors: &[f32]) -> RopeScaling {
    let (low_freq_factor, high_freq_factor, original_max_positions) = LLAMA3;
    RopeScaling::Llama3 {
        factor: f64::from(factors.iter().copied().fold(1.0, f32::max)),
        low_freq_factor,
        high_freq_factor,
        original_max_positions,
    }
}

/// Whether factors are those of Llama 3 to rounding.
fn is_llama3(config: &BitNetLmConfig, found: &[f32]) -> bool {
    let config = config.clone().with_rope_scaling(Some(llama3(found)));
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 4.0 * f32::EPSILON * a.abs();
    divisors(&config).iter().zip(found).all(near)
}
