//! NVIDIA: PTX through CubeCL's LLVM compiler, assembled by `ptxas`.

use cubecl::{Compiler, ir::nvidia::SmArch};
use cubecl_llvm::{
    LlvmTarget, PlironArtifact, PlironCompiler, PlironOptions, nvptx::ptx_version::PtxVersion,
};
use std::ffi::CStr;

use super::{
    assert_instructions,
    cases::{Case, Target},
    tools::Tool,
};

const TARGET: Target = Target {
    bf16: true,
    max_width: 8,
};

/// Returns the PTX of a kernel for `sm_{arch}`.
fn ptx(case: &Case, arch: u32) -> String {
    let mut compiler = PlironCompiler {
        target: LlvmTarget::Nvptx,
    };
    let options = PlironOptions {
        sm_arch: Some(SmArch::new(arch, false)),
        // Version of CUDA 12.8, which the oldest drivers in use support.
        ptx_version: PtxVersion::for_driver(12080),
        ..Default::default()
    };
    let artifact = compiler
        .compile(case.kernel.define(), &options)
        .unwrap_or_else(|e| panic!("{} does not compile for sm_{arch}: {e}", case.name));
    let PlironArtifact::NvptxCode(module) = artifact else {
        unreachable!("the NVPTX target produces PTX");
    };
    // SAFETY: the text ends with a NUL, as documented.
    let text = unsafe { CStr::from_ptr(module.ptx.as_ptr()) };
    text.to_str().expect("PTX is ASCII").to_string()
}

/// Compiles every kernel for `sm_{arch}` and assembles it with ptxas for `gpu`.
fn assemble(arch: u32, gpu: &str) {
    let ptxas = Tool::find("ptxas", "PTXAS");
    let arguments = [&format!("--gpu-name={gpu}"), "-o", "/dev/null", "-"];
    let cases = TARGET.cases().into_iter();
    for case in cases.filter(|case| !case.needs_libdevice()) {
        let code = ptx(&case, arch);
        ptxas
            .check(code.as_bytes(), &arguments)
            .unwrap_or_else(|e| panic!("{} for {gpu}: {e}\n{code}", case.name));
    }
}

#[test]
fn every_kernel_assembles_for_sm_80() {
    assemble(80, "sm_80");
}

#[test]
fn every_kernel_assembles_for_sm_90() {
    // CubeCL uses all instructions of Hopper, for which the name has an `a`.
    assemble(90, "sm_90a");
}

#[test]
fn codes_are_rounded_by_truncation() {
    // `rzi` rounds towards zero, `rni` to the nearest.
    for case in TARGET.cases().iter().filter(|case| case.rounds()) {
        assert_instructions(
            case,
            &ptx(case, 80),
            &["cvt.rzi.f32.f32"],
            &["cvt.rni.f32.f32"],
        );
    }
}

#[test]
fn maxima_are_of_integers() {
    // The float maximum drops a NaN.
    for case in TARGET.cases().iter().filter(|c| c.only_finds_maxima()) {
        assert_instructions(case, &ptx(case, 80), &["max.u32"], &["max.f32"]);
    }
}

#[test]
fn transforms_add_in_registers_and_scale_what_was_rounded() {
    for case in TARGET.cases().iter().filter(|case| case.transforms()) {
        let present = ["add.f32", "sub.f32", "mul.f32"];
        assert_instructions(case, &ptx(case, 80), &present, &["fma.", "ld.local"]);
    }
}

#[test]
fn four_bit_codes_are_divided_exactly() {
    for case in TARGET.cases().iter() {
        if case.function() == "quantize_four_bit" {
            let absent = ["div.full", "div.approx", "rcp.approx", "fma."];
            assert_instructions(case, &ptx(case, 80), &["div.rn.f32", "rcp.rn.f32"], &absent);
        }
    }
}

#[test]
fn four_bit_weights_stay_in_registers() {
    for case in TARGET.cases().iter() {
        if case.function() == "multiply_four_bit" {
            let present = ["ld.shared", "mul.f32"];
            assert_instructions(case, &ptx(case, 80), &present, &["ld.local", "st.local"]);
        }
    }
}
