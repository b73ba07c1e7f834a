//! Compiles every kernel for every target without a device, and checks the code with the target's tool.
//! On a machine without GPUs this ensures that the code is valid and that the numerics use the right
//! instructions.

mod cases;
mod metal;
mod ptx;
mod spirv;
mod tools;
mod wgsl;

use cases::{Case, Target};
use std::collections::BTreeSet;

/// Panics unless `code` contains all of `present` and nothing of `absent`.
fn assert_instructions(case: &Case, code: &str, present: &[&str], absent: &[&str]) {
    for instruction in present {
        let found = code.contains(instruction);
        assert!(found, "{}: no `{instruction}` in\n{code}", case.name);
    }
    for instruction in absent {
        let found = code.contains(instruction);
        assert!(!found, "{}: `{instruction}` in\n{code}", case.name);
    }
}

#[test]
fn the_table_has_every_kernel_of_the_crate() {
    let sources = [
        include_str!("../absmax.rs"),
        include_str!("../affine.rs"),
        include_str!("../blockwise.rs"),
        include_str!("../codes.rs"),
        include_str!("../four_bit.rs"),
        include_str!("../four_bit_rows.rs"),
        include_str!("../hadamard.rs"),
        include_str!("../pack.rs"),
        include_str!("../packed_rows.rs"),
        include_str!("../statistic.rs"),
        include_str!("../stochastic_round.rs"),
        include_str!("../ternary.rs"),
    ];
    let launched: BTreeSet<&str> = sources
        .iter()
        .flat_map(|source| source.split("#[cube(launch_unchecked)]").skip(1))
        .filter_map(|kernel| kernel.split("fn ").nth(1)?.split(['<', '(']).next())
        .collect();
    let cases = Target {
        bf16: true,
        max_width: 8,
    }
    .cases();
    let compiled: BTreeSet<&str> = cases.iter().map(Case::function).collect();
    assert_eq!(compiled, launched);
}
