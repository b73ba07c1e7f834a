//! The rotary positions that `config.json` asks for.

use serde_json::{Map, Value};

use super::{
    fields::{Fields, is_positive},
    keys,
};
use crate::{
    interop::{
        UnknownKey,
        hf::{Family, HfError},
    },
    nn::RopeScaling,
};

/// Rotary positions.
pub(super) struct Rope {
    pub theta: f32,
    pub scaling: Option<RopeScaling>,
    pub unknown: Vec<UnknownKey>,
}

/// Reads them as `RotaryEmbeddingConfigMixin` of transformers does: `rope_scaling` wins over
/// `rope_parameters`, `rope_type` over `type`, and the base within over the one beside them.
pub(super) fn read(config: &Fields<'_>, family: Family) -> Result<Rope, HfError> {
    let (prefix, written) = object(config)?;
    let empty = Map::new();
    let rope = Fields {
        path: config.path,
        prefix,
        json: written.unwrap_or(&empty),
    };
    let nested = rope.json.iter().find(|(_, value)| value.is_object());
    if let Some((layer_type, _)) = nested {
        return Err(rope.unsupported(layer_type, "an object", "one rope for all layers"));
    }
    let unknown = super::checked(&keys::ROPE, &rope)?;
    for place in [config, &rope] {
        if let Some(part) = place
            .optional::<f64>("partial_rotary_factor")?
            .filter(|p| *p != 1.0)
        {
            let name = family.architecture();
            let supported = format!("1, as {name} rotates whole heads");
            return Err(place.unsupported("partial_rotary_factor", part, &supported));
        }
    }
    let theta = match rope.positive("rope_theta")? {
        Some(theta) => theta,
        None => config
            .positive("rope_theta")?
            .unwrap_or(family.defaults().rope_theta),
    };
    Ok(Rope {
        theta: theta as f32,
        scaling: scaling(config, &rope)?,
        unknown,
    })
}

/// The prefix of the keys of an object, and the object, if it is there.
type Written<'a> = (&'static str, Option<&'a Map<String, Value>>);

/// The object that says it, and where it is.
fn object<'a>(config: &Fields<'a>) -> Result<Written<'a>, HfError> {
    for (key, prefix) in [
        ("rope_scaling", "rope_scaling."),
        ("rope_parameters", "rope_parameters."),
    ] {
        match config.raw(key) {
            None | Some(Value::Null) => {}
            Some(Value::Object(rope)) if rope.is_empty() => {}
            Some(Value::Object(rope)) => return Ok((prefix, Some(rope))),
            Some(other) => return Err(config.unsupported(key, other, "an object")),
        }
    }
    Ok(("rope_parameters.", None))
}

fn scaling(config: &Fields<'_>, rope: &Fields<'_>) -> Result<Option<RopeScaling>, HfError> {
    let key = if rope.has("rope_type") {
        "rope_type"
    } else {
        "type"
    };
    let rope_type = match rope.raw(key) {
        None => "default",
        Some(Value::String(name)) => name,
        Some(other) => return Err(rope.unsupported(key, other, SUPPORTED)),
    };
    let need = |key: &str| -> Result<f64, HfError> {
        let missing = || rope.wrong(format!("rope scaling of {rope_type} has no {key}"));
        rope.positive(key)?.ok_or_else(missing)
    };
    Ok(Some(match rope_type {
        "default" => return Ok(None),
        "linear" => RopeScaling::Linear {
            factor: need("factor")?,
        },
        "llama3" => RopeScaling::Llama3 {
            factor: need("factor")?,
            low_freq_factor: need("low_freq_factor")?,
            high_freq_factor: need("high_freq_factor")?,
            original_max_positions: original_max_positions(config, rope)?,
        },
        "yarn" => yarn(config, rope)?,
        "longrope" => longrope(config, rope)?,
        other => return Err(rope.unsupported(key, other, SUPPORTED)),
    }))
}

const SUPPORTED: &str = "default, linear, llama3, yarn or longrope";

/// Positions of the first training: a number beside the object wins, and all positions where there is none.
fn original_max_positions(config: &Fields<'_>, rope: &Fields<'_>) -> Result<usize, HfError> {
    const KEY: &str = "original_max_position_embeddings";
    let positions = match config.optional::<usize>(KEY)? {
        Some(positions) => Some(positions),
        None => rope.optional(KEY)?,
    };
    let positions = match positions {
        Some(positions) => positions,
        None => config.optional("max_position_embeddings")?.unwrap_or(0),
    };
    match positions {
        0 => Err(rope.wrong(format!("{}{KEY} is 0", rope.prefix))),
        positions => Ok(positions),
    }
}

/// How many times more positions there are than in the first training.
fn extension(config: &Fields<'_>, original: usize) -> Result<f64, HfError> {
    let positions = config.required::<usize>("max_position_embeddings")?;
    Ok(positions as f64 / original as f64)
}

fn yarn(config: &Fields<'_>, rope: &Fields<'_>) -> Result<RopeScaling, HfError> {
    let original_max_positions = original_max_positions(config, rope)?;
    // Zero is none, as in transformers.
    let beta = |key: &str, default: f64| -> Result<f64, HfError> {
        let beta = rope.optional::<f64>(key)?.filter(|beta| *beta != 0.0);
        let beta = rope.check(key, beta, is_positive)?;
        Ok(beta.unwrap_or(default))
    };
    let factor = match (rope.positive("factor")?, rope.has("factor")) {
        (Some(factor), _) => factor,
        (None, true) => extension(config, original_max_positions)?,
        (None, false) => return Err(rope.wrong("rope scaling of yarn has no factor")),
    };
    let scaling = RopeScaling::Yarn {
        factor,
        original_max_positions,
        beta_fast: beta("beta_fast", 32.0)?,
        beta_slow: beta("beta_slow", 1.0)?,
        truncate: rope.optional("truncate")?.unwrap_or(!rope.has("truncate")),
        attention_factor: rope.finite("attention_factor")?,
        mscale: rope.finite("mscale")?,
        mscale_all_dim: rope.finite("mscale_all_dim")?,
    };
    let factor = Some(scaling.attention_factor());
    rope.check("attention_factor", factor, is_positive)?;
    Ok(scaling)
}

fn longrope(config: &Fields<'_>, rope: &Fields<'_>) -> Result<RopeScaling, HfError> {
    let original_max_positions = original_max_positions(config, rope)?;
    let factors = |key: &str| -> Result<Vec<f64>, HfError> {
        let factors = rope.required::<Vec<f64>>(key)?;
        match factors.iter().find(|factor| !is_positive(**factor)) {
            Some(factor) => Err(rope.wrong(format!("{}{key} has {factor}", rope.prefix))),
            None => Ok(factors),
        }
    };
    let attention_factor = match (rope.positive("attention_factor")?, rope.positive("factor")?) {
        (Some(attention_factor), _) => attention_factor,
        (None, factor) => {
            let factor = match factor {
                Some(factor) => factor,
                None => extension(config, original_max_positions)?,
            };
            match factor <= 1.0 {
                true => 1.0,
                false => (1.0 + factor.ln() / (original_max_positions as f64).ln()).sqrt(),
            }
        }
    };
    rope.check("attention_factor", Some(attention_factor), f64::is_finite)?;
    Ok(RopeScaling::Longrope {
        short_factor: factors("short_factor")?,
        long_factor: factors("long_factor")?,
        original_max_positions,
        attention_factor,
    })
}
