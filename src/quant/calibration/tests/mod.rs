//! Histograms, ranges and the methods that compute them.

mod distributions;
mod histogram;
mod mse;
mod percentile;
mod range;
mod static_params;

use super::StaticParams;

/// Returns `Q(x)` of a value of the first channel, by the definition.
fn quantized(params: &StaticParams, x: f64) -> f64 {
    let codes = params.mapping.codes(params.bits);
    let (step, zero_point) = (params.step[0] as f64, params.zero_point[0] as f64);
    let code = (x / step).round_ties_even() + zero_point;
    let code = code.clamp(codes.min as f64, codes.max as f64);
    (code - zero_point) * step
}
