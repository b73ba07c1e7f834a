//! WebGPU, and wgpu on every system: WGSL, checked by naga, which wgpu uses.

use cubecl::{Compiler, WgpuCompilationOptions};
use cubecl_wgpu::WgslCompiler;
use naga::{
    Expression, MathFunction, Module, ScalarKind, TypeInner,
    valid::{Capabilities, ModuleInfo, ValidationFlags, Validator},
};

use super::cases::{Case, Target};

/// WGSL has no `bf16`.
const TARGET: Target = Target {
    bf16: false,
    max_width: 4,
};

/// A kernel parsed from its WGSL by naga.
struct Shader {
    module: Module,
    info: ModuleInfo,
}

impl Shader {
    fn new(case: &Case) -> Self {
        let code = WgslCompiler
            .compile(case.kernel.define(), &WgpuCompilationOptions::default())
            .unwrap_or_else(|e| panic!("{} does not compile to WGSL: {e}", case.name))
            .to_string();
        let module = naga::front::wgsl::parse_str(&code)
            .unwrap_or_else(|e| panic!("{}: {}", case.name, e.emit_to_string(&code)));
        // The only optional capability that a kernel on `f16` needs.
        let info = Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16)
            .validate(&module)
            .unwrap_or_else(|e| panic!("{}: {}", case.name, e.emit_to_string(&code)));
        Self { module, info }
    }

    /// Returns the functions that the kernel calls, each with the kind of its first argument.
    fn functions(&self) -> Vec<(MathFunction, Option<ScalarKind>)> {
        let info = self.info.get_entry_point(0);
        let expressions = self.module.entry_points[0].function.expressions.iter();
        expressions
            .filter_map(|(_, expression)| match expression {
                Expression::Math { fun, arg, .. } => {
                    let argument: &TypeInner = info[*arg].ty.inner_with(&self.module.types);
                    Some((*fun, argument.scalar_kind()))
                }
                _ => None,
            })
            .collect()
    }
}

#[test]
fn every_kernel_is_valid() {
    for case in TARGET.cases() {
        assert_eq!(Shader::new(&case).module.entry_points.len(), 1);
    }
}

#[test]
fn codes_are_rounded_by_truncation() {
    for case in TARGET.cases().iter().filter(|case| case.rounds()) {
        let functions = Shader::new(case).functions();
        let has = |function| functions.iter().any(|(f, _)| *f == function);
        assert!(has(MathFunction::Trunc), "{}", case.name);
        assert!(!has(MathFunction::Round), "{}", case.name);
    }
}

#[test]
fn maxima_are_of_integers() {
    // The float maximum drops a NaN.
    for case in TARGET.cases().iter().filter(|c| c.only_finds_maxima()) {
        let mut maxima = Shader::new(case).functions();
        maxima.retain(|(function, _)| *function == MathFunction::Max);
        assert!(!maxima.is_empty(), "{}", case.name);
        for (_, kind) in maxima {
            assert_eq!(kind, Some(ScalarKind::Uint), "{}", case.name);
        }
    }
}
