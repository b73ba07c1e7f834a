//! Vulkan: SPIR-V, checked by `spirv-val`.

use cubecl::{Compiler, VulkanCompilationOptions, WgpuCompilationOptions};
use cubecl_spirv::{SpirvCompiler, SpirvKernel};

use super::{
    assert_instructions,
    cases::{Case, Target},
    tools::Tool,
};

/// Target without `bf16`, whose extension is younger than Debian 12's `spirv-val`.
const CHECKED: Target = Target {
    bf16: false,
    max_width: 4,
};

const ALL: Target = Target {
    bf16: true,
    max_width: 4,
};

/// Returns the SPIR-V of a kernel for devices that support SPIR-V up to 1.`minor`.
///
/// The devices have `VK_KHR_workgroup_memory_explicit_layout`: without it, CubeCL 0.11.3 declares shared
/// memory as a pointer to a pointer, which is invalid for any kernel.
fn spirv(case: &Case, minor: u8) -> SpirvKernel {
    let options = WgpuCompilationOptions {
        supports_vulkan_compiler: true,
        vulkan: VulkanCompilationOptions {
            supports_explicit_smem: true,
            supports_uniform_standard_layout: true,
            max_spirv_version: (1, minor),
            max_vector_size: 4,
            push_constant_size: 128,
            ..Default::default()
        },
        ..Default::default()
    };
    SpirvCompiler
        .compile(case.kernel.define(), &options)
        .unwrap_or_else(|e| panic!("{} does not compile to SPIR-V: {e}", case.name))
}

/// Compiles and checks every kernel for a version of Vulkan and its SPIR-V 1.`minor`.
fn validate(vulkan: &str, minor: u8) {
    let spirv_val = Tool::find("spirv-val", "SPIRV_VAL");
    for case in CHECKED.cases() {
        let kernel = spirv(&case, minor);
        let words = kernel.assembled_module.iter();
        let bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        spirv_val
            .check(&bytes, &["--target-env", vulkan, "-"])
            .unwrap_or_else(|e| panic!("{} for {vulkan}: {e}\n{kernel}", case.name));
    }
}

#[test]
fn every_kernel_is_valid_for_vulkan_1_2() {
    validate("vulkan1.2", 5);
}

#[test]
fn every_kernel_is_valid_for_vulkan_1_3() {
    validate("vulkan1.3", 6);
}

#[test]
fn kernels_on_bf16_compile() {
    for case in ALL.cases().iter().filter(|c| c.name.contains("bf16")) {
        let code = spirv(case, 6).to_string();
        assert_instructions(case, &code, &["OpEntryPoint GLCompute", "OpStore"], &[]);
    }
}

#[test]
fn codes_are_rounded_by_truncation() {
    // With `Round` the rounding of ties depends on the device.
    for case in ALL.cases().iter().filter(|case| case.rounds()) {
        let code = spirv(case, 6).to_string();
        assert_instructions(case, &code, &[" Trunc "], &[" Round "]);
    }
}

#[test]
fn maxima_are_of_integers() {
    // The float maximum drops a NaN or leaves it to the device.
    for case in ALL.cases().iter().filter(|c| c.only_finds_maxima()) {
        let code = spirv(case, 6).to_string();
        assert_instructions(case, &code, &[" UMax "], &[" FMax ", " NMax ", " SMax "]);
    }
}
