//! Apple GPUs: Metal source through CubeCL's C++ compiler.
//!
//! The source is not compiled further: Metal's compiler exists for macOS and Windows only. The tests
//! search it for a kernel function and for the instructions that matter.

use cubecl::Compiler;
use cubecl_cpp::{MslCompiler, shared::CompilationOptions};

use super::{
    assert_instructions,
    cases::{Case, Target},
};

const TARGET: Target = Target {
    bf16: true,
    max_width: 4,
};

/// Returns the Metal source of a kernel.
fn metal(case: &Case) -> String {
    MslCompiler::default()
        .compile(case.kernel.define(), &CompilationOptions::default())
        .unwrap_or_else(|e| panic!("{} does not compile to Metal: {e}", case.name))
        .to_string()
}

#[test]
fn every_kernel_compiles_to_a_kernel_function() {
    for case in TARGET.cases() {
        let function = format!("[[kernel]] void {}_", case.function());
        // The address space that it writes its results to.
        let buffer = "device ";
        assert_instructions(&case, &metal(&case), &[&function, buffer], &[]);
    }
}

#[test]
fn codes_are_rounded_by_truncation() {
    for case in TARGET.cases().iter().filter(|case| case.rounds()) {
        assert_instructions(case, &metal(case), &[" trunc("], &["rint(", "round("]);
    }
}

#[test]
fn maxima_are_of_integers() {
    // The float maximum drops a NaN.
    for case in TARGET.cases().iter().filter(|c| c.only_finds_maxima()) {
        let code = metal(case);
        assert_instructions(case, &code, &[" max("], &["fmax("]);
        for line in code.lines().filter(|line| line.contains(" max(")) {
            assert!(line.starts_with("uint32_t "), "{}: {line}", case.name);
        }
    }
}
