//! Tensors of any file format, as text and as JSON.

use std::fmt::Write;

use serde::{Serialize, Serializer};

/// Description of a tensor.
#[derive(Serialize)]
pub struct Tensor {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<usize>,
    pub bytes: usize,
    #[serde(flatten)]
    pub values: Values,
}

/// Statistics of the values of a tensor.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Values {
    /// Not read, or of an unsupported type.
    Unknown {},
    Floats {
        absmean: f64,
        min: f32,
        max: f32,
    },
    /// Ternary codes -1, 0 and 1.
    Codes {
        /// Number of occurrences of each code.
        #[serde(rename = "codes", serialize_with = "by_code")]
        counts: [u64; 3],
        /// Scale of the codes, if known.
        scale: Option<f32>,
    },
}

impl Values {
    /// Computes statistics of floats; a matrix with only the values `-scale`, 0 and `scale` becomes codes.
    pub fn of_floats(values: &[f32], is_matrix: bool) -> Self {
        let scale = values
            .iter()
            .map(|value| value.abs())
            .find(|value| *value > 0.0);
        if let Some(scale) = scale.filter(|_| is_matrix)
            && values
                .iter()
                .all(|value| *value == 0.0 || value.abs() == scale)
        {
            let codes = values.iter().map(|value| match value {
                value if *value > 0.0 => 1,
                value if *value < 0.0 => -1,
                _ => 0,
            });
            return Self::of_codes(codes, Some(scale));
        }
        let sum: f64 = values.iter().map(|value| f64::from(value.abs())).sum();
        Self::Floats {
            absmean: sum / values.len().max(1) as f64,
            min: values.iter().copied().fold(f32::INFINITY, f32::min),
            max: values.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        }
    }

    pub fn of_codes(codes: impl IntoIterator<Item = i8>, scale: Option<f32>) -> Self {
        let mut counts = [0; 3];
        for code in codes {
            counts[(code.signum() + 1) as usize] += 1;
        }
        Self::Codes { counts, scale }
    }

    fn text(&self) -> String {
        match self {
            Self::Unknown {} => String::new(),
            Self::Floats { absmean, min, max } => {
                format!("absmean {absmean:.5}, {min:.4} to {max:.4}")
            }
            Self::Codes { counts, scale } => {
                let total = counts.iter().sum::<u64>().max(1) as f64;
                let [minus, zero, plus] = counts.map(|count| 100.0 * count as f64 / total);
                let scale = scale.map_or(String::new(), |scale| format!(", scale {scale:.6}"));
                format!("-1 {minus:.1} %, 0 {zero:.1} %, 1 {plus:.1} %{scale}")
            }
        }
    }
}

fn by_code<S: Serializer>(counts: &[u64; 3], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(["-1", "0", "1"].into_iter().zip(counts))
}

pub fn text(tensors: &[Tensor]) -> String {
    let bytes: usize = tensors.iter().map(|tensor| tensor.bytes).sum();
    let total = crate::output::bytes(bytes as u64);
    let mut text = format!("{} tensors, {total}\n", tensors.len());
    let width = tensors.iter().map(|tensor| tensor.name.len()).max();
    let width = width.unwrap_or(0);
    for tensor in tensors {
        let (shape, values) = (format!("{:?}", tensor.shape), tensor.values.text());
        let line = format!(
            "  {:<width$} {:<6} {shape:<14} {values}",
            tensor.name, tensor.dtype
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ternary_matrices_are_told_from_floats() {
        let ternary = Values::of_floats(&[0.5, -0.5, 0.0, 0.5], true);
        let Values::Codes { counts, scale } = ternary else {
            panic!("these are codes");
        };
        assert_eq!((counts, scale), ([1, 1, 2], Some(0.5)));
        for (values, is_matrix) in [
            (&[0.5, -0.25][..], true),
            (&[1.0, 1.0], false),
            (&[0.0], true),
        ] {
            let values = Values::of_floats(values, is_matrix);
            assert!(matches!(values, Values::Floats { .. }));
        }
    }
}
