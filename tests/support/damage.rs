//! Damage to files: the same for the same seed.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use safetensors::SafeTensors;
use serde_json::{Map, Value, json};

/// Values that a key of a configuration may have by mistake, as JSON texts; the last are none.
pub const WRONG_VALUES: [&str; 20] = [
    "null",
    "true",
    "false",
    "0",
    "-1",
    "3",
    "1.5",
    "1099511627776",
    "18446744073709551616",
    "1e39",
    "\"\"",
    "\"x\"",
    "\"(\"",
    "[]",
    "[[[\"x\"]]]",
    "[-1]",
    "{}",
    "{\"x\": {\"x\": -1}}",
    "NaN",
    "-Infinity",
];

/// Returns the texts of an object with each wrong value of each key, and without each key.
pub fn wrong_objects(object: &Map<String, Value>) -> Vec<(String, String)> {
    let text = |key: &str, value: Option<&str>| {
        let fields = object.iter().map(|(name, old)| match name == key {
            true => value.map(|value| format!("{}: {value}", json!(name))),
            false => Some(format!("{}: {old}", json!(name))),
        });
        let fields: Vec<String> = fields.flatten().collect();
        (
            key.to_string(),
            format!("{{\n  {}\n}}", fields.join(",\n  ")),
        )
    };
    let keys = object.keys();
    keys.flat_map(|key| {
        let wrong = WRONG_VALUES.iter().map(|value| text(key, Some(value)));
        wrong.chain([text(key, None)]).collect::<Vec<_>>()
    })
    .collect()
}

/// Returns a file with some bytes changed, most of them among the first, with the number of these; or with another
/// length, with `None`.
pub fn damaged(file: &[u8], first: usize, seed: u64) -> (Vec<u8>, Option<usize>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut bytes = file.to_vec();
    let first = first.clamp(1, file.len());
    match seed % 8 {
        0 => bytes.truncate(rng.random_range(0..file.len())),
        1 => bytes.extend((0..rng.random_range(1..64)).map(|_| rng.random::<u8>())),
        2 => {
            let at = rng.random_range(0..file.len());
            bytes.drain(at..(at + rng.random_range(1..9)).min(file.len()));
        }
        kind => {
            let flips = rng.random_range(1..5);
            for _ in 0..flips {
                let end = if kind < 7 { first } else { file.len() };
                let at = rng.random_range(0..end);
                bytes[at] = match rng.random::<bool>() {
                    true => bytes[at] ^ (1 << rng.random_range(0..8)),
                    false => *b"0129-[]{}\",: \0\xff"
                        .get(rng.random_range(0..15))
                        .unwrap(),
                };
            }
            return (bytes, Some(flips));
        }
    }
    (bytes, None)
}

/// A tensor of a safetensors file.
#[derive(Clone)]
pub struct RawTensor {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<u64>,
    pub bytes: Vec<u8>,
}

/// Returns the tensors of a safetensors file, by name.
pub fn raw_tensors(file: &[u8]) -> Vec<RawTensor> {
    let file = SafeTensors::deserialize(file).unwrap();
    let tensors = file.tensors().into_iter().map(|(name, view)| RawTensor {
        name,
        dtype: view.dtype().to_string(),
        shape: view.shape().iter().map(|&size| size as u64).collect(),
        bytes: view.data().to_vec(),
    });
    let mut tensors: Vec<RawTensor> = tensors.collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}

/// Returns a safetensors file of tensors, which need not be as their bytes are.
pub fn raw_file(tensors: &[RawTensor]) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for tensor in tensors {
        let offsets = [data.len(), data.len() + tensor.bytes.len()];
        data.extend(&tensor.bytes);
        let (name, dtype, shape) = (json!(tensor.name), json!(tensor.dtype), &tensor.shape);
        entries.push(format!(
            "{name}: {{\"dtype\": {dtype}, \"shape\": {shape:?}, \"data_offsets\": {offsets:?}}}"
        ));
    }
    let header = format!("{{{}}}", entries.join(", "));
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &data].concat()
}

/// Damage to a tensor among others, and its name.
type Change = fn(&mut Vec<RawTensor>, usize);

/// Ways in which one of the tensors is wrong.
pub const WRONG_TENSORS: [(&str, Change); 16] = [
    ("missing", |tensors, at| drop(tensors.remove(at))),
    ("renamed", |tensors, at| tensors[at].name.push('x')),
    ("named twice", |tensors, at| {
        tensors.push(tensors[at].clone())
    }),
    ("of another rank", |tensors, at| tensors[at].shape.push(1)),
    ("flat", |tensors, at| {
        let size = tensors[at].shape.iter().product();
        tensors[at].shape = vec![size, 1, 1];
    }),
    ("a row longer", |tensors, at| {
        let bytes = tensors[at].bytes.len() as u64 / tensors[at].shape[0].max(1);
        let length = tensors[at].bytes.len() + bytes as usize;
        tensors[at].bytes.resize(length, 0);
        tensors[at].shape[0] += 1;
    }),
    ("without rows", |tensors, at| {
        tensors[at].bytes.clear();
        tensors[at].shape[0] = 0;
    }),
    ("huge", |tensors, at| tensors[at].shape[0] = 1 << 40),
    ("beyond all numbers", |tensors, at| {
        tensors[at].shape = vec![1 << 40; 3];
    }),
    ("empty, of huge sizes", |tensors, at| {
        tensors[at].bytes.clear();
        tensors[at].shape = vec![0, 1 << 40, 1 << 40];
    }),
    ("of integers", |tensors, at| {
        tensors[at].dtype = integers(tensors[at].bytes.len(), &tensors[at].shape);
    }),
    ("of f64", |tensors, at| {
        let length = 8 * tensors[at].shape.iter().product::<u64>();
        tensors[at].bytes.resize(length as usize, 0);
        tensors[at].dtype = "F64".to_string();
    }),
    ("of half the type", |tensors, at| {
        tensors[at].dtype = "F8_E4M3".to_string();
    }),
    ("of no type", |tensors, at| {
        tensors[at].dtype = "F33".to_string()
    }),
    ("cut off", |tensors, at| {
        tensors[at].bytes.pop();
    }),
    ("under the name of another", |tensors, at| {
        let other = (at + 1) % tensors.len();
        tensors[at].name = tensors[other].name.clone();
    }),
];

/// Returns the name of an integer type of the size of the values.
fn integers(bytes: usize, shape: &[u64]) -> String {
    match bytes as u64 / shape.iter().product::<u64>().max(1) {
        1 => "I8",
        2 => "I16",
        _ => "I32",
    }
    .to_string()
}

/// Returns a file with one value of a tensor of `f32` that is not finite.
pub fn not_finite(tensors: &[RawTensor], at: usize, value: f32) -> Vec<u8> {
    let mut tensors = tensors.to_vec();
    let bytes = &mut tensors[at].bytes;
    let last = bytes.len() - 4;
    bytes[last..].copy_from_slice(&value.to_le_bytes());
    raw_file(&tensors)
}
