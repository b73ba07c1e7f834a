//! Comparison of operations with a copy of their input.

use std::thread;

use bitnet_burn::functions::{
    AffineParams, DynamicMap, Groups, QuantRange, Statistic, absmax_fake_quant, absmax_quantize,
    affine_fake_quant, blockwise_quantize, group_statistic, hadamard_transform, ternary_fake_quant,
    ternary_pack, ternary_unpack,
};
use burn::tensor::{Device, Distribution, FloatDType, Tensor};

use crate::{
    alternate::{Timed, medians, timed},
    table::{Table, number},
};

pub const ABOUT: &str = "Milliseconds of each operation on weights of 1024 x 4096 and activations \
    of 2048 x 1024, in f32, and of a copy of its\ninput by all threads into memory that is \
    allocated as by the operation. Fake quantization with computed scales takes\ntwo passes: \
    `group_statistic` is the first of them alone. The bench `ops` compares operations with Burn \
    tensor\noperations.";

const WEIGHT: [usize; 2] = [1024, 4096];
const ACTIVATION: [usize; 2] = [2048, 1024];

/// Number of values per group.
const GROUP: usize = 128;

pub fn run(quick: bool) -> Table {
    let head = &["operation", "scales", "ms", "copy", "ratio"];
    let mut table = Table::new(head, "time of a copy of the input, shorter is better");
    let device = Device::default();
    let random = |shape| Tensor::<2>::random(shape, Distribution::Normal(0.0, 0.02), &device);
    let (weight, x) = (random(WEIGHT), random(ACTIVATION));
    let mut row = |operation: &str, scales: &str, shape: [usize; 2], f: Timed<'_>| {
        let [time, copy] = medians([f, copy(shape)], quick);
        let ratio = time / copy;
        let cells = [operation.to_string(), scales.to_string(), number(time)];
        table.row(
            cells
                .into_iter()
                .chain([number(copy), format!("{ratio:.2}")]),
        );
        table.bar(operation, scales, ratio);
    };
    let by_scales = [
        ("tensor", Groups::per_tensor(WEIGHT[0] * WEIGHT[1])),
        ("channel", Groups::along_axis(&WEIGHT, 0, WEIGHT[0])),
        ("group", Groups::along_axis(&WEIGHT, 0, GROUP)),
    ];
    let groups = by_scales[0].1;
    let f = timed(|| group_statistic(weight.clone(), groups, Statistic::AbsMean));
    row("group_statistic, absmean", "tensor", WEIGHT, f);
    for (scales, groups) in by_scales {
        let f = timed(|| ternary_fake_quant(weight.clone(), groups));
        row("ternary_fake_quant", scales, WEIGHT, f);
    }
    for (scales, groups) in by_scales {
        let (_, gamma) = ternary_fake_quant(weight.clone(), groups);
        let f = timed(|| ternary_pack(weight.clone(), gamma.clone(), groups));
        row("ternary_pack", scales, WEIGHT, f);
    }
    for (scales, groups) in by_scales {
        let (_, gamma) = ternary_fake_quant(weight.clone(), groups);
        let packed = ternary_pack(weight.clone(), gamma.clone(), groups);
        let f = timed(|| {
            let (packed, gamma) = (packed.clone(), gamma.clone());
            ternary_unpack(packed, gamma, groups, WEIGHT, FloatDType::F32)
        });
        row("ternary_unpack", scales, WEIGHT, f);
    }
    let per_token = Groups::per_row(&ACTIVATION);
    let f = timed(|| absmax_fake_quant(x.clone(), per_token, 8));
    row("absmax_fake_quant", "token", ACTIVATION, f);
    let per_tensor = Groups::per_tensor(ACTIVATION[0] * ACTIVATION[1]);
    let f = timed(|| group_statistic(x.clone(), per_tensor, Statistic::AbsMax));
    row("group_statistic, absmax", "tensor", ACTIVATION, f);
    let f = timed(|| absmax_fake_quant(x.clone(), per_tensor, 8));
    row("absmax_fake_quant", "tensor", ACTIVATION, f);
    row(
        "absmax_quantize",
        "token",
        ACTIVATION,
        timed(|| absmax_quantize(x.clone(), 8)),
    );
    for (scales, groups) in by_scales {
        let (_, gamma) = ternary_fake_quant(weight.clone(), groups);
        let levels = AffineParams::symmetric(gamma, groups, QuantRange::signed(4));
        let f = timed(|| affine_fake_quant(weight.clone(), levels.clone()));
        row("affine_fake_quant", scales, WEIGHT, f);
    }
    let f = timed(|| hadamard_transform(x.clone(), GROUP));
    row("hadamard_transform", "blocks of 128", ACTIVATION, f);
    let f = timed(|| blockwise_quantize(weight.clone(), DynamicMap::Signed));
    row("blockwise_quantize", "blocks of 256", WEIGHT, f);
    table
}

/// Copies a tensor's bytes into fresh memory, a part with each thread.
fn copy(shape: [usize; 2]) -> Timed<'static> {
    let values = vec![1.0f32; shape.iter().product()];
    let threads = thread::available_parallelism().map_or(1, usize::from);
    timed(move || {
        let mut copy = Vec::with_capacity(values.len());
        let room = copy.spare_capacity_mut();
        let part = values.len().div_ceil(threads);
        rayon::scope(|scope| {
            for (from, to) in values.chunks(part).zip(room.chunks_mut(part)) {
                scope.spawn(move |_| {
                    to.write_copy_of_slice(from);
                });
            }
        });
        // SAFETY: all of it was written.
        unsafe { copy.set_len(values.len()) };
        copy
    })
}
