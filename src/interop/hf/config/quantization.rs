//! `quantization_config` of `config.json`.

use serde_json::Value;

use super::{checked, fields::Fields, keys};
use crate::{
    base::key_table::UnknownKey,
    interop::hf::{
        HfError,
        dtype::dtype_of_name,
        quantization::{BitNetQuantization, BitsAndBytesQuantization, QuantizationConfig},
    },
    quant::FourBitType,
};

const KEY: &str = "quantization_config";

pub(super) fn read(
    fields: &Fields<'_>,
    unknown: &mut Vec<UnknownKey>,
) -> Result<Option<QuantizationConfig>, HfError> {
    let json = match fields.raw(KEY) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(json)) => json,
        Some(other) => return Err(fields.unsupported(KEY, other, "an object")),
    };
    let inner = Fields {
        path: fields.path,
        prefix: "quantization_config.",
        json,
    };
    // Before its other keys, which are those of the method.
    let method: String = inner.required("quant_method")?;
    let (table, config) = match method.as_str() {
        "bitnet" => (&keys::BITNET, bitnet(fields, &inner)?.into()),
        "bitsandbytes" => (&keys::BITSANDBYTES, bitsandbytes(&inner)?.into()),
        _ => return Err(inner.unsupported("quant_method", method, "bitnet or bitsandbytes")),
    };
    unknown.extend(checked(table, &inner)?);
    Ok(Some(config))
}

fn bitnet(fields: &Fields<'_>, inner: &Fields<'_>) -> Result<BitNetQuantization, HfError> {
    if let Some(mode) = inner.optional::<String>("quantization_mode")?
        && !["online", "offline"].contains(&mode.as_str())
    {
        return Err(inner.unsupported("quantization_mode", mode, "online or offline"));
    }
    fields.required(KEY)
}

fn bitsandbytes(fields: &Fields<'_>) -> Result<BitsAndBytesQuantization, HfError> {
    for (key, supported) in [("load_in_8bit", false), ("load_in_4bit", true)] {
        let found = fields.optional::<bool>(key)?.unwrap_or(false);
        if found != supported {
            let supported = format!("{supported}: weights of 4 bits, load_in_4bit alone");
            return Err(fields.unsupported(key, found, &supported));
        }
    }
    let storage: Option<String> = fields.optional("bnb_4bit_quant_storage")?;
    if let Some(storage) = storage.filter(|storage| storage != "uint8") {
        return Err(fields.unsupported("bnb_4bit_quant_storage", storage, "uint8"));
    }
    let compute: Option<String> = fields.optional("bnb_4bit_compute_dtype")?;
    let compute_dtype = match compute {
        None => None,
        Some(name) => Some(dtype_of_name(&name).ok_or_else(|| {
            let supported = "float32, float16 or bfloat16";
            fields.unsupported("bnb_4bit_compute_dtype", &name, supported)
        })?),
    };
    Ok(BitsAndBytesQuantization {
        quant_type: quant_type(fields)?,
        double_quant: fields.optional("bnb_4bit_use_double_quant")?,
        compute_dtype,
        skip_modules: fields.optional("llm_int8_skip_modules")?,
    })
}

fn quant_type(fields: &Fields<'_>) -> Result<Option<FourBitType>, HfError> {
    const KEY: &str = "bnb_4bit_quant_type";
    let name: Option<String> = fields.optional(KEY)?;
    name.map(|name| {
        FourBitType::of_name(&name).ok_or_else(|| fields.unsupported(KEY, &name, "nf4 or fp4"))
    })
    .transpose()
}
