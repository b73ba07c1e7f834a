use burn::tensor::TensorReadError;
use serde::{Deserialize, Serialize};

use super::{
    QuantControls,
    error_probe::{CodeCounts, Counts, Measurement, SUMS},
};

/// Quantization error of the values of one quantizer, in one forward pass.
///
/// `W` are the values and `Q` the fully quantized ones, regardless of the share used by a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantizationError {
    /// Path of the quantizer, as in [`QuantControls`].
    pub path: String,
    /// `true` for weights, `false` for activations.
    pub is_weight: bool,
    /// Number of values.
    pub count: usize,
    /// Signal to quantization noise ratio, `10 log10(sum W^2 / sum (W - Q)^2)`, in dB. `None` where it is
    /// undefined: for values that are all zero, exact, or not finite.
    pub sqnr_db: Option<f64>,
    /// Mean squared error, `mean (W - Q)^2`; `None` for values that are not finite, as below.
    pub mse: Option<f64>,
    /// Cosine similarity, `sum W Q / sqrt(sum W^2 sum Q^2)`; also `None` for zeros.
    pub cosine: Option<f64>,
    /// Largest error, `max |W - Q|`.
    pub max_error: Option<f64>,
    /// Share of the quantized values that are zero.
    pub zero_fraction: f64,
    /// Share of values beyond the range of a quantizer whose range is fixed or trained.
    pub clipping_rate: f64,
    /// The scales of a weight; `None` for activations, and if one is not finite.
    pub scale: Option<ScaleSummary>,
    /// Number of weights with each code, in ascending order of the codes; empty for activations.
    pub code_histogram: Vec<CodeCount>,
    /// Number of latent weights in each of 33 bins of equal width, the middle one around 0, an eighth
    /// of the largest code's value apart; the outermost also hold the values beyond. Empty for activations.
    pub weight_histogram: Vec<u64>,
    /// Share of the weights whose code changed since the last measurement; `None` at the first, and
    /// for activations.
    pub flip_rate: Option<f64>,
}

/// The scales of a weight, over its groups.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleSummary {
    /// Their mean.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// Number of weights with a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeCount {
    /// The code.
    pub code: i32,
    /// The number of weights.
    pub count: u64,
}

impl QuantControls {
    /// Requests a measurement of the next forward pass of each quantizer, on any clone or fork. A quantizer
    /// at lambda 0 measures as well.
    pub fn request_errors(&self) {
        for (_, values) in self.iter() {
            values.error_probe.request();
        }
    }

    /// Returns the measurements since the last call, in the order of the quantizers; those without a forward
    /// pass are left out.
    ///
    /// Reads one to three small tensors of each quantizer back from the device, and the codes of weights
    /// with more than 16 levels.
    ///
    /// # Errors
    ///
    /// If the values cannot be read back from the device.
    pub fn collect_errors(&self) -> Result<Vec<QuantizationError>, TensorReadError> {
        self.iter()
            .filter_map(|(path, values)| {
                let measurement = values.error_probe.take()?;
                let is_weight = values.weight().is_some();
                Some(QuantizationError::read(path, is_weight, measurement))
            })
            .collect()
    }
}

/// Returns a number, if it is finite.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

impl QuantizationError {
    fn read(
        path: &str,
        is_weight: bool,
        measurement: Measurement,
    ) -> Result<Self, TensorReadError> {
        let Measurement { sums, codes, count } = measurement;
        let sums: Vec<f32> = sums.try_into_vec_as()?;
        let sums: [f32; SUMS] = sums.try_into().expect("the sums of a measurement");
        let [
            signal,
            quantized,
            product,
            noise,
            largest,
            zeros,
            clipped,
            mean,
            min,
            max,
        ] = sums.map(f64::from);
        let norms = signal.sqrt() * quantized.sqrt();
        let (code_histogram, weight_histogram, flips) = match codes {
            Some(codes) => read_codes(codes)?,
            None => (Vec::new(), Vec::new(), None),
        };
        let share = |part: f64| part / count as f64;
        Ok(Self {
            path: path.to_string(),
            is_weight,
            count,
            sqnr_db: finite(10.0 * (signal / noise).log10()),
            mse: finite(share(noise)),
            cosine: finite(product / norms),
            max_error: finite(largest).filter(|_| noise.is_finite()),
            zero_fraction: share(zeros),
            clipping_rate: share(clipped),
            scale: finite(mean)
                .filter(|_| is_weight)
                .map(|mean| ScaleSummary { mean, min, max }),
            code_histogram,
            weight_histogram,
            flip_rate: flips.map(|flips| share(flips as f64)),
        })
    }
}

type CodesAndFlips = (Vec<CodeCount>, Vec<u64>, Option<u64>);

fn read_codes(codes: CodeCounts) -> Result<CodesAndFlips, TensorReadError> {
    let CodeCounts {
        range,
        latent,
        counts,
        flips,
    } = codes;
    let levels = (range.max - range.min) as usize + 1;
    let min = range.min as i32;
    let counts: Vec<u64> = match counts {
        Counts::Counted(counts) => counts.try_into_vec_as()?,
        Counts::Codes(codes) => {
            let mut counts = vec![0; levels];
            for code in codes.try_into_vec_as::<i32>()? {
                // The code of a NaN is undefined.
                if let Some(count) = counts.get_mut((code - min) as usize) {
                    *count += 1;
                }
            }
            counts
        }
    };
    let histogram = counts
        .into_iter()
        .enumerate()
        .map(|(level, count)| CodeCount {
            code: min + level as i32,
            count,
        });
    let flips = match flips {
        Some(flips) => Some(flips.try_into_scalar::<u64>()?),
        None => None,
    };
    Ok((histogram.collect(), latent.try_into_vec_as()?, flips))
}
