//! Hadamard transform: one pass, a last pass of each length, and several passes.

use cubecl::prelude::*;
use std::sync::Arc;

use super::{Case, REDUCE_UNITS, Target, buffer, device, elementwise, settings};
use crate::kernels::hadamard;

pub(super) fn cases(target: &Target) -> Vec<Case> {
    let f32_type = f32::elem_type_native();
    let mut cases = Vec::new();
    for dtype in target.types() {
        cases.extend(
            target
                .widths(dtype)
                .map(|width| tiles(width, 7, [dtype; 2])),
        );
        let widest = |dtype| target.widths(dtype).max().unwrap_or(1);
        // Stages of a tile: a copy, the shortest pass, and all passes.
        cases.extend([0, 1, 12].map(|stages| tiles(widest(dtype), stages, [dtype; 2])));
        // First and last launch of a block beyond the shared memory.
        cases.push(tiles(widest(f32_type), 12, [dtype, f32_type]));
        cases.extend([1, 2, 3, 4].map(|stages| strided(stages, dtype)));
    }
    cases
}

fn tiles(width: usize, stages: usize, [input, output]: [ElemType; 2]) -> Case {
    let kernel = hadamard::transform_tiles::TransformTiles::new(
        settings(CubeDim::new_1d(REDUCE_UNITS)),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        width,
        stages,
        4096,
        input,
        output,
    );
    let name = format!("transform_tiles {input} to {output} x{width} {stages} stages");
    Case::new(name, kernel)
}

fn strided(stages: usize, dtype: ElemType) -> Case {
    let kernel = hadamard::transform_strided::TransformStrided::new(
        elementwise(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        stages,
        dtype,
    );
    Case::new(format!("transform_strided {dtype} {stages} stages"), kernel)
}
