//! Statistics and fake quantization of all layouts of groups on Flex, which has a loop for each, against the
//! scalar reference.

use bitnet_burn::functions::{
    Groups, Statistic, absmax_fake_quant, group_statistic, ternary_fake_quant,
};
use bitnet_burn_kernels::reference;
use burn::tensor::{DType, Device, Tensor};

use crate::support::values::*;

/// Shapes for one thread and many, one stripe of columns and several, rows that fit the cache and that do
/// not, and remainders after the vectors of each.
const GROUPS: [[usize; 3]; 12] = [
    [1, 5, 1],
    [3, 65, 1],
    [130, 1000, 1],
    [1, 70_001, 1],
    [2, 40_000, 1],
    [1, 3, 5],
    [2, 9, 17],
    [1, 64, 1030],
    [4, 7, 2500],
    [300, 8, 16],
    [1, 900, 40],
    [2, 3, 9000],
];

/// Returns the values and their scales.
type Reference = fn(&[f32], Groups) -> (Vec<f32>, Vec<f32>);

/// A fake quantizer, its scale for a statistic, and the largest relative error of its results.
struct Quantizer {
    fake_quant: fn(Tensor<3>, Groups) -> (Tensor<3>, Tensor<2>),
    statistic: Statistic,
    scale: fn(f32) -> f32,
    expected: Reference,
    expected_statistics: fn(&[f32], Groups) -> Vec<f32>,
    relative: f32,
}

fn check(quantizer: Quantizer) {
    for [outer, size, inner] in GROUPS {
        let groups = Groups { outer, size, inner };
        let value = |i: usize| (i as f32 * 0.37).sin() * (1 + i % 7) as f32;
        let values: Vec<f32> = (0..groups.num_elements()).map(value).collect();
        let x = tensor(
            &values,
            [outer, size, inner],
            DType::F32,
            &Device::default(),
        );
        let close = |actual: &[f32], expected: &[f32], what: &str| {
            let bound = |i: usize| (quantizer.relative * expected[i].abs()) as f64;
            assert_within(actual, expected, bound, &format!("{what} of {groups:?}"));
        };
        let (levels, scales) = (quantizer.fake_quant)(x.clone(), groups);
        let scales = floats(scales);
        let (expected, expected_scales) = (quantizer.expected)(&values, groups);
        close(&scales, &expected_scales, "scales");
        close(&floats(levels), &expected, "levels");
        let statistics = floats(group_statistic(x, groups, quantizer.statistic));
        let expected = (quantizer.expected_statistics)(&values, groups);
        close(&statistics, &expected, "statistics");
        let same: Vec<f32> = statistics.into_iter().map(quantizer.scale).collect();
        assert_eq!(same, scales, "{groups:?}");
    }
}

#[test]
fn the_levels_of_all_layouts_are_those_of_the_scalar_loops() {
    if !on_flex() {
        return;
    }
    // The sums have another order: the last place of a mean, and so of a level, may differ.
    check(Quantizer {
        fake_quant: ternary_fake_quant,
        statistic: Statistic::AbsMean,
        scale: |absmean| absmean,
        expected: reference::ternary_fake_quant,
        expected_statistics: reference::absmean_scales,
        relative: f32::EPSILON,
    });
    check(Quantizer {
        fake_quant: |x, groups| absmax_fake_quant(x, groups, 8),
        statistic: Statistic::AbsMax,
        scale: |absmax| 127.0 / absmax,
        expected: |values, groups| reference::absmax_fake_quant(values, groups, 127.0),
        expected_statistics: reference::absmax_scales,
        relative: 0.0,
    });
}
