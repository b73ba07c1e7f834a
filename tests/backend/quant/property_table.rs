//! Property table of all quantizers and estimators: forward values bit for bit, gradients by their
//! formula, fake == packed, and edge cases of inputs.

use bitnet_burn::{
    functions::{Groups, QuantRange},
    qat::PackedWeight,
    quant::{
        ActivationGranularity, ActivationQuantizer, BitWidth, Ste, TernaryScale, WeightGranularity,
        WeightQuantizer,
    },
};
use bitnet_burn_kernels::reference::{EPSILON, absmax, absmean, round_clamp};
use burn::tensor::{DType, Device, Tensor};

use crate::support::values::*;

/// A group quantized by scalar code: its values, step and zero point.
type Quantized = (Vec<f32>, f32, f32);

/// Scalar quantization of a group.
type Reference = Box<dyn Fn(&[f32]) -> Quantized>;

/// A quantizer, and an independent reference for one of its groups.
struct Row<Q> {
    quantizer: Q,
    codes: QuantRange,
    reference: Reference,
}

impl<Q> Row<Q> {
    fn new(
        quantizer: impl Into<Q>,
        codes: QuantRange,
        reference: impl Fn(&[f32]) -> Quantized + 'static,
    ) -> Self {
        let (quantizer, reference) = (quantizer.into(), Box::new(reference));
        Self {
            quantizer,
            codes,
            reference,
        }
    }

    /// Returns values, steps and zero points of all values, by their groups.
    fn expected(&self, values: &[f32], groups: Groups) -> [Vec<f32>; 3] {
        let mut expected = [(); 3].map(|()| vec![0.0; values.len()]);
        for group in 0..groups.num_groups() {
            let members: Vec<usize> = (0..values.len())
                .filter(|&i| groups.scale_index(i) == group)
                .collect();
            let inputs: Vec<f32> = members.iter().map(|&i| values[i]).collect();
            let (quantized, step, zero_point) = (self.reference)(&inputs);
            for (&i, q) in members.iter().zip(quantized) {
                (expected[0][i], expected[1][i], expected[2][i]) = (q, step, zero_point);
            }
        }
        expected
    }
}

/// Computes `(clamp(round(x / step + z)) - z) * step` of each value.
fn affine(values: &[f32], step: f32, z: f32, codes: QuantRange) -> Quantized {
    let quantize = |v: &f32| (round_clamp(v / step + z, codes.min, codes.max) - z) * step;
    (values.iter().map(quantize).collect(), step, z)
}

fn copied(values: &[f32]) -> std::iter::Copied<std::slice::Iter<'_, f32>> {
    values.iter().copied()
}

const TERNARY: QuantRange = QuantRange::TERNARY;

/// Multiplies by the reciprocal, as the fused operation for absmean ternary weights.
fn ternary(values: &[f32]) -> Quantized {
    let gamma = absmean(copied(values));
    let quantize = |v: &f32| round_clamp(v * (1.0 / gamma), -1.0, 1.0) * gamma;
    (values.iter().map(quantize).collect(), gamma, 0.0)
}

fn absmedian(values: &[f32]) -> Quantized {
    let mut magnitudes: Vec<f32> = values.iter().map(|v| v.abs()).collect();
    magnitudes.sort_by(f32::total_cmp);
    let gamma = magnitudes[(magnitudes.len() - 1) / 2].max(EPSILON);
    affine(values, gamma, 0.0, TERNARY)
}

fn binary(values: &[f32]) -> Quantized {
    let alpha = absmean(copied(values));
    let mean = (values.iter().map(|&v| v as f64).sum::<f64>() / values.len() as f64) as f32;
    let quantize = |&v: &f32| if v > mean { alpha } else { -alpha };
    let step = 2.0 * alpha;
    (
        values.iter().map(quantize).collect(),
        step,
        0.5 - mean / step,
    )
}

fn symmetric(bits: u8) -> impl Fn(&[f32]) -> Quantized {
    let codes = QuantRange::signed(bits);
    move |values| affine(values, absmax(copied(values)) / codes.max, 0.0, codes)
}

fn learned(width: BitWidth) -> impl Fn(&[f32]) -> Quantized {
    let codes = width.codes();
    move |values| {
        let step = absmean(copied(values)) * (2.0 / codes.max.sqrt());
        affine(values, step, 0.0, codes)
    }
}

fn weight_rows(granularity: WeightGranularity) -> Vec<Row<WeightQuantizer>> {
    let median = WeightQuantizer::Ternary {
        granularity,
        scale: TernaryScale::Absmedian,
    };
    let mut rows = vec![
        Row::new(WeightQuantizer::ternary(granularity), TERNARY, ternary),
        Row::new(median, TERNARY, absmedian),
        Row::new(
            WeightQuantizer::binary(granularity),
            QuantRange { min: 0.0, max: 1.0 },
            binary,
        ),
    ];
    for bits in [2, 4, 8] {
        let config = WeightQuantizer::symmetric(bits).with_granularity(granularity);
        rows.push(Row::new(config, QuantRange::signed(bits), symmetric(bits)));
    }
    for width in [BitWidth::Ternary, BitWidth::Bits(2), BitWidth::Bits(4)] {
        let config = WeightQuantizer::learned_step(width).with_granularity(granularity);
        rows.push(Row::new(config, width.codes(), learned(width)));
    }
    rows
}

/// Multiplies and divides by the inverse step, as in BitNet's formula.
fn absmax_row(bits: u8, granularity: ActivationGranularity) -> Row<ActivationQuantizer> {
    let codes = QuantRange::signed(bits);
    let quantizer = ActivationQuantizer::Absmax { bits, granularity };
    Row::new(quantizer, codes, move |values| {
        let s = codes.max / absmax(copied(values));
        let quantize = |v: &f32| round_clamp(v * s, codes.min, codes.max) / s;
        (values.iter().map(quantize).collect(), 1.0 / s, 0.0)
    })
}

fn asymmetric(values: &[f32]) -> Quantized {
    let codes = QuantRange::unsigned(8);
    let min = copied(values).fold(0.0, f32::min);
    let max = copied(values).fold(0.0, f32::max);
    let step = (max - min).max(EPSILON) / codes.max;
    affine(values, step, (-(min / step)).round_ties_even(), codes)
}

fn absmean_four_bits(values: &[f32]) -> Quantized {
    let codes = QuantRange::signed(4);
    affine(
        values,
        absmean(copied(values)) / codes.max.sqrt(),
        0.0,
        codes,
    )
}

fn top_half(values: &[f32]) -> Quantized {
    let (mut quantized, step, z) =
        (absmax_row(8, ActivationGranularity::PerToken).reference)(values);
    let mut magnitudes: Vec<f32> = values.iter().map(|v| v.abs()).collect();
    magnitudes.sort_by(|a, b| b.total_cmp(a));
    let threshold = magnitudes[values.len() / 2 - 1];
    for (q, v) in quantized.iter_mut().zip(values) {
        *q *= f32::from(v.abs() >= threshold);
    }
    (quantized, step, z)
}

fn learned_activation(offset: bool) -> Row<ActivationQuantizer> {
    let quantizer = ActivationQuantizer::LearnedStep {
        bits: 8,
        offset,
        absmean: 0.08,
    };
    let codes = match offset {
        true => QuantRange::unsigned(8),
        false => QuantRange::signed(8),
    };
    let step = 2.0 * 0.08 / 127f32.sqrt();
    let middle = if offset { 128.0 } else { 0.0 };
    let z = -(-middle * step) / step;
    Row::new(quantizer, codes, move |values| {
        affine(values, step, z, codes)
    })
}

/// All quantizers, each with the granularity of its groups.
fn activation_rows() -> Vec<(ActivationGranularity, Row<ActivationQuantizer>)> {
    use ActivationGranularity::{PerChannel, PerTensor, PerToken};
    let mut rows = Vec::new();
    for granularity in [PerToken, PerTensor, PerChannel] {
        rows.push((granularity, absmax_row(8, granularity)));
        rows.push((granularity, absmax_row(4, granularity)));
        let quantizer = ActivationQuantizer::Asymmetric {
            bits: 8,
            granularity,
        };
        rows.push((
            granularity,
            Row::new(quantizer, QuantRange::unsigned(8), asymmetric),
        ));
        let quantizer = ActivationQuantizer::Absmean {
            bits: 4,
            granularity,
        };
        rows.push((
            granularity,
            Row::new(quantizer, QuantRange::signed(4), absmean_four_bits),
        ));
    }
    let half = ActivationQuantizer::TopK { keep: 0.5, bits: 8 };
    let top_k = Row::new(half, QuantRange::signed(8), top_half);
    rows.push((PerToken, top_k));
    // Before its calibration.
    let dynamic = absmax_row(8, PerTensor);
    let quantizer = ActivationQuantizer::Static {
        bits: 8,
        symmetric: true,
    };
    let before = Row::new(quantizer, dynamic.codes, dynamic.reference);
    rows.push((PerTensor, before));
    rows.push((PerTensor, learned_activation(false)));
    rows.push((PerTensor, learned_activation(true)));
    rows
}

fn estimators() -> [Ste; 5] {
    [
        Ste::Identity,
        Ste::clipped(1.0),
        Ste::clipped(0.5),
        Ste::tanh(0.5),
        Ste::sigmoid(0.3),
    ]
}

/// Returns the gradient factor of an estimator, by its documented formula.
fn factor(ste: Ste, v: f64, z: f64, codes: QuantRange) -> f64 {
    let (min, max) = (codes.min as f64, codes.max as f64);
    match ste {
        Ste::Clipped { bound } => {
            let bound = bound as f64;
            f64::from(bound * (min - z) <= v - z && v - z <= bound * (max - z))
        }
        Ste::Tanh { temperature } => {
            let k = 1.0 / temperature as f64;
            let nearest = (v - 0.5).round().clamp(min, max - 1.0) + 0.5;
            let slope = k / (2.0 * (k / 2.0).tanh()) / (k * (v - nearest)).cosh().powi(2);
            if (min..=max).contains(&v) { slope } else { 0.0 }
        }
        Ste::Sigmoid { temperature } => {
            let t = temperature as f64;
            let thresholds = (0..(max - min) as usize).map(|i| min + i as f64 + 0.5);
            let slope = |threshold: f64| 1.0 / (4.0 * ((v - threshold) / (2.0 * t)).cosh().powi(2));
            thresholds.map(slope).sum::<f64>() / t
        }
        _ => 1.0,
    }
}

/// Relative spacing of a float type.
fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        _ => ROUNDING,
    }
}

/// Returns whether LSQ's own gradient replaces the estimator's.
fn has_own_gradient(name: &str) -> bool {
    name.starts_with("LearnedStep")
}

/// Checks values and gradients of one row, for one estimator and type.
fn check<Q: core::fmt::Debug>(
    row: &Row<Q>,
    groups: Groups,
    shape: [usize; 2],
    fake_quant: impl Fn(Tensor<2>, Ste) -> Tensor<2>,
) {
    let device = Device::default();
    let count = shape[0] * shape[1];
    let name = format!("{:?}", row.quantizer);
    for dtype in float_types(&device) {
        let values = rounded(&exactly_summable(count, 5), dtype);
        let upstream = rounded(&normal(count, 6), dtype);
        let [expected, steps, zero_points] = row.expected(&values, groups);
        for ste in estimators() {
            let what = format!("{name} {dtype:?} {ste:?}");
            let x = tensor(&values, shape, dtype, &device.clone().autodiff()).require_grad();
            let g = tensor(&upstream, shape, dtype, &device.clone().autodiff());
            let quantized = fake_quant(x.clone(), ste);
            let actual = floats(quantized.clone());
            assert_equal(&actual, &rounded(&expected, dtype), &what);

            let grad = x
                .grad(&(quantized * g).sum().backward())
                .expect("a gradient");
            let ste = match has_own_gradient(&name) {
                true => Ste::clipped(1.0),
                false => ste,
            };
            let formula: Vec<f64> = (0..count)
                .map(|i| {
                    // In f32, as in the rule: at a bound a rounding decides.
                    let v = values[i] / steps[i] + zero_points[i];
                    factor(ste, v as f64, zero_points[i] as f64, row.codes)
                })
                .collect();
            let exact: Vec<f32> = (0..count)
                .map(|i| (upstream[i] as f64 * formula[i]) as f32)
                .collect();
            // The factors go up to 1.31 (tanh) and 1.05 (sigmoid). Flex and NdArray compute them with
            // a function that is right to a unit in the last place and about eight operations; a
            // shader's tanh and exp inherit errors of their argument, a few times that. Then one
            // rounding to the type of the result.
            let operations = if on_cpu_library() { 16.0 } else { 64.0 };
            let soft = match ste {
                Ste::Tanh { .. } | Ste::Sigmoid { .. } => operations * ROUNDING * 1.31,
                _ => 0.0,
            };
            let bound = |i: usize| {
                soft * upstream[i].abs() as f64 + 2.0 * rounding(dtype) * exact[i].abs() as f64
            };
            assert_within(&floats(grad), &exact, bound, &format!("gradient of {what}"));
        }
    }
}

const WEIGHT: [usize; 2] = [8, 12];
const ACTIVATION: [usize; 2] = [6, 8];

fn granularities() -> [WeightGranularity; 3] {
    [
        WeightGranularity::PerTensor,
        WeightGranularity::PerChannel,
        WeightGranularity::PerGroup { group_size: 4 },
    ]
}

#[test]
fn weights_have_the_values_of_their_reference_and_the_gradients_of_their_estimator() {
    for granularity in granularities() {
        for row in weight_rows(granularity) {
            let groups = row.quantizer.groups(&WEIGHT, 1).unwrap();
            check(&row, groups, WEIGHT, |w, ste| {
                row.quantizer.fake_quant(w, groups, ste).0
            });
        }
    }
}

#[test]
fn activations_have_the_values_of_their_reference_and_the_gradients_of_their_estimator() {
    for (granularity, row) in activation_rows() {
        let groups = granularity.groups(&ACTIVATION);
        check(&row, groups, ACTIVATION, |x, ste| {
            row.quantizer.fake_quant(x, ste)
        });
    }
}

#[test]
fn ternary_codes_unpack_to_the_trained_values() {
    let device = Device::default();
    for granularity in granularities() {
        for row in weight_rows(granularity)
            .iter()
            .filter(|r| r.quantizer.is_ternary())
        {
            for dtype in float_types(&device) {
                let what = format!("{:?} {dtype:?}", row.quantizer);
                let weight = tensor(&normal(96, 7), WEIGHT, dtype, &device);
                let groups = row.quantizer.groups(&WEIGHT, 1).unwrap();
                let (fake, _) = row
                    .quantizer
                    .fake_quant(weight.clone(), groups, Ste::Identity);
                let packed = PackedWeight::from_latent(weight, &row.quantizer, 1);
                assert_equal(&floats(packed.unpack_like(WEIGHT, 1)), &floats(fake), &what);
            }
        }
    }
}

/// Applies `fake_quant` to edge cases.
fn check_edges(name: &str, fake_quant: impl Fn(Tensor<2>) -> Tensor<2>) {
    let device = Device::default();
    let of = |values: &[f32]| {
        let rows = values.len() / 4;
        floats(fake_quant(tensor(values, [rows, 4], DType::F32, &device)))
    };
    let zeros = of(&[0.0; 8]);
    // Half of the smallest scale is the maximum error of a zero, for codes without a zero.
    assert!(
        zeros.iter().all(|q| q.abs() <= EPSILON),
        "{name}: {zeros:?}"
    );
    let constant = of(&[0.75; 8]);
    assert!(
        constant.iter().all(|q| *q == constant[0]),
        "{name}: {constant:?}"
    );
    let huge = of(&[1e30, -1e30, 1e29, 3e30, 1e30, 2e30, -3e30, 1e28]);
    assert!(huge.iter().all(|q| q.is_finite()), "{name}: {huge:?}");
    let empty = of(&[]);
    assert!(empty.is_empty(), "{name}");
}

#[test]
fn zeros_constants_huge_and_no_values_are_quantized_without_a_fault() {
    for row in weight_rows(WeightGranularity::PerTensor) {
        let name = format!("{:?}", row.quantizer);
        check_edges(&name, |w| {
            let groups = row.quantizer.groups(&w.dims(), 1).unwrap();
            row.quantizer.fake_quant(w, groups, Ste::Identity).0
        });
    }
    for (_, row) in activation_rows() {
        let name = format!("{:?}", row.quantizer);
        check_edges(&name, |x| row.quantizer.fake_quant(x, Ste::Identity));
    }
}

#[test]
fn a_nan_or_infinity_shows_in_the_values_of_its_group() {
    let device = Device::default();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let values = [0.5, -1.0, bad, 0.25, 0.75, 0.5, -0.5, 1.0];
        let x = tensor(&values, [2, 4], DType::F32, &device);
        for row in weight_rows(WeightGranularity::PerTensor) {
            let groups = row.quantizer.groups(&[2, 4], 1).unwrap();
            let quantized = row.quantizer.fake_quant(x.clone(), groups, Ste::Identity).0;
            let shows = floats(quantized).iter().any(|q| !q.is_finite());
            assert!(shows, "{bad} in {:?}", row.quantizer);
        }
        // A frozen range clamps an infinity like any large value.
        let fixed = |row: &Row<_>| format!("{:?}", row.quantizer).starts_with("LearnedStep");
        for (_, row) in activation_rows()
            .iter()
            .filter(|(_, row)| !fixed(row) || bad.is_nan())
        {
            let quantized = row.quantizer.fake_quant(x.clone(), Ste::Identity);
            let shows = floats(quantized).iter().any(|q| !q.is_finite());
            assert!(shows, "{bad} in {:?}", row.quantizer);
        }
    }
}

#[test]
fn configurations_survive_json_and_have_a_name() {
    for granularity in granularities() {
        for row in weight_rows(granularity) {
            let json = serde_json::to_string(&row.quantizer).unwrap();
            let read: WeightQuantizer = serde_json::from_str(&json).unwrap();
            assert_eq!(read, row.quantizer, "{json}");
            let name = row.quantizer.to_string();
            assert!(name.contains(&granularity.to_string()), "{name}");
        }
    }
    for (_, row) in activation_rows() {
        let json = serde_json::to_string(&row.quantizer).unwrap();
        let read: ActivationQuantizer = serde_json::from_str(&json).unwrap();
        assert_eq!(read, row.quantizer, "{json}");
        let bits = format!("{} bits", row.quantizer.bits());
        assert!(
            row.quantizer.to_string().contains(&bits),
            "{}",
            row.quantizer
        );
    }
}
