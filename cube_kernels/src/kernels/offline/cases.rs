//! All kernels in the variants that the launchers use.

mod codes;
mod four_bit;
mod hadamard;

use cubecl::{
    CubeKernel,
    ir::{
        DeviceIdentity, DeviceProperties, HardwareProperties, MemoryDeviceProperties,
        features::Features,
    },
    prelude::*,
    profile::TimingMethod,
};
use half::{bf16, f16};
use std::sync::Arc;

use crate::{
    Statistic,
    kernels::{absmax, affine, blockwise, statistic, stochastic_round, ternary},
};

/// Units of a cube that reduces, on every device that allows this number.
const REDUCE_UNITS: u32 = 256;

/// Units of a cube that quantizes a block.
const BLOCK_UNITS: u32 = 64;

/// A kernel and its unique name.
pub(super) struct Case {
    pub name: String,
    pub kernel: Box<dyn CubeKernel>,
}

impl Case {
    fn new(name: String, kernel: impl CubeKernel) -> Self {
        Self {
            name,
            kernel: Box::new(kernel),
        }
    }

    /// Returns the name of the kernel, without its variant.
    pub fn function(&self) -> &str {
        self.name.split(' ').next().unwrap_or_default()
    }

    /// Returns whether the kernel rounds activations to codes.
    pub fn rounds(&self) -> bool {
        [
            "quantize_rows",
            "quantize_codes",
            "quantize_with_scales",
            "affine_quantize",
        ]
        .contains(&self.function())
            || self.name.ends_with("StepSize")
    }

    /// Returns whether the kernel is a Hadamard transform with at least one stage.
    pub fn transforms(&self) -> bool {
        self.function().starts_with("transform_") && !self.name.ends_with(" 0 stages")
    }

    /// Returns whether the kernel calls functions of libdevice, from the CUDA toolkit, on NVIDIA GPUs.
    pub fn needs_libdevice(&self) -> bool {
        self.name.ends_with("Tanh") || self.name.ends_with("Sigmoid")
    }

    /// Returns whether all maxima of the kernel are largest magnitudes of a group.
    pub fn only_finds_maxima(&self) -> bool {
        self.name.contains(&format!("{:?}", Statistic::AbsMax))
            || self.function() == "quantize_four_bit"
    }
}

/// Properties that differ between the targets.
pub(super) struct Target {
    /// `true` if values can be `bf16`.
    pub bf16: bool,
    /// Maximum number of values in a vector, from a device's
    /// [`vector_size`](crate::kernels::launch::vector_size).
    pub max_width: usize,
}

impl Target {
    fn types(&self) -> Vec<ElemType> {
        let mut types = vec![f32::elem_type_native(), f16::elem_type_native()];
        if self.bf16 {
            types.push(bf16::elem_type_native());
        }
        types
    }

    /// Returns the vector widths for values of `dtype`; devices load up to 16 bytes at once.
    fn widths(&self, dtype: ElemType) -> impl Iterator<Item = usize> {
        let most = self.max_width.min(16 / dtype.size());
        [1, 2, 4, 8].into_iter().filter(move |width| *width <= most)
    }

    /// Returns every kernel in every variant.
    pub fn cases(&self) -> Vec<Case> {
        let mut cases = vec![invert(), quantize_blocks(), dequantize_blocks()];
        for dtype in self.types() {
            cases.push(round_stochastically(dtype));
            cases.extend([Statistic::AbsMean, Statistic::AbsMax].map(|s| reduce_columns(s, dtype)));
            for width in self.widths(dtype) {
                for statistic in [Statistic::AbsMean, Statistic::AbsMax] {
                    cases.extend(
                        [true, false].map(|done| reduce_chunks(width, statistic, done, dtype)),
                    );
                }
                cases.push(quantize(width, dtype));
                cases.push(quantize_rows(width, dtype));
                cases.push(quantize_with_scales(width, dtype));
                cases.push(affine_quantize(width, dtype));
                cases.extend(RULES.map(|rule| affine_multiply(width, rule, dtype)));
            }
        }
        cases.extend(codes::cases(self));
        cases.extend(four_bit::cases(self));
        cases.extend(hadamard::cases(self));
        cases
    }
}

fn reduce_chunks(width: usize, statistic: Statistic, complete: bool, dtype: ElemType) -> Case {
    let kernel = statistic::reduce_chunks::ReduceChunks::new(
        reducing(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        (),
        (),
        width,
        statistic,
        complete,
        REDUCE_UNITS,
        dtype,
    );
    let name = format!("reduce_chunks {dtype} x{width} {statistic:?} complete={complete}");
    Case::new(name, kernel)
}

fn reduce_columns(statistic: Statistic, dtype: ElemType) -> Case {
    let kernel = statistic::reduce_columns::ReduceColumns::new(
        elementwise(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        (),
        (),
        statistic,
        dtype,
    );
    Case::new(format!("reduce_columns {dtype} {statistic:?}"), kernel)
}

fn quantize(width: usize, dtype: ElemType) -> Case {
    let kernel = ternary::quantize::Quantize::new(
        elementwise(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        width,
        dtype,
    );
    Case::new(format!("quantize {dtype} x{width}"), kernel)
}

fn quantize_rows(width: usize, dtype: ElemType) -> Case {
    let kernel = absmax::quantize_rows::QuantizeRows::new(
        reducing(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        width,
        REDUCE_UNITS,
        dtype,
    );
    Case::new(format!("quantize_rows {dtype} x{width}"), kernel)
}

fn quantize_blocks() -> Case {
    let kernel = blockwise::quantize_blocks::QuantizeBlocks::new(
        settings(CubeDim::new_1d(BLOCK_UNITS)),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        buffer(),
        buffer(),
        (),
        (),
        1,
        BLOCK_UNITS,
    );
    Case::new("quantize_blocks".to_string(), kernel)
}

fn dequantize_blocks() -> Case {
    let kernel = blockwise::dequantize_blocks::DequantizeBlocks::new(
        elementwise(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        buffer(),
        buffer(),
        (),
    );
    Case::new("dequantize_blocks".to_string(), kernel)
}

fn round_stochastically(dtype: ElemType) -> Case {
    let kernel = stochastic_round::round_stochastically::RoundStochastically::new(
        elementwise(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        (),
        (),
        dtype,
    );
    Case::new(format!("round_stochastically {dtype}"), kernel)
}

fn invert() -> Case {
    let kernel = absmax::invert::Invert::new(
        elementwise(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        (),
        (),
    );
    Case::new("invert".to_string(), kernel)
}

fn quantize_with_scales(width: usize, dtype: ElemType) -> Case {
    let kernel = absmax::quantize_with_scales::QuantizeWithScales::new(
        elementwise(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        (),
        width,
        dtype,
    );
    Case::new(format!("quantize_with_scales {dtype} x{width}"), kernel)
}

const RULES: [affine::Rule; 4] = [
    affine::Rule::Clipped,
    affine::Rule::Tanh,
    affine::Rule::Sigmoid,
    affine::Rule::StepSize,
];

fn affine_quantize(width: usize, dtype: ElemType) -> Case {
    let kernel = affine::affine_quantize::AffineQuantize::new(
        elementwise(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        (),
        (),
        width,
        dtype,
    );
    Case::new(format!("affine_quantize {dtype} x{width}"), kernel)
}

fn affine_multiply(width: usize, rule: affine::Rule, dtype: ElemType) -> Case {
    let kernel = affine::affine_multiply::AffineMultiply::new(
        elementwise(),
        device(),
        Arc::default(),
        buffer(),
        buffer(),
        buffer(),
        buffer(),
        buffer(),
        (),
        (),
        (),
        (),
        (),
        (),
        width,
        rule,
        dtype,
    );
    Case::new(format!("affine_multiply {dtype} x{width} {rule:?}"), kernel)
}

fn buffer() -> BufferCompilationArg {
    BufferCompilationArg { inplace: None }
}

/// Returns a cube shaped by [`elementwise`](crate::kernels::launch::elementwise) for many units.
fn elementwise() -> KernelSettings {
    settings(CubeDim::new_2d(32, 8))
}

/// Returns a cube shaped by [`one_cube_each`](crate::kernels::launch::one_cube_each).
fn reducing() -> KernelSettings {
    settings(CubeDim::new_1d(REDUCE_UNITS))
}

fn settings(cube_dim: CubeDim) -> KernelSettings {
    KernelSettings::new(*cube_dim, ExecutionMode::Unchecked, AddressType::U32)
}

/// Returns a device with the properties common to all GPUs.
fn device() -> Arc<DeviceProperties> {
    let hardware = HardwareProperties {
        load_width: 128,
        vector_register_count: None,
        plane_size_min: 32,
        plane_size_max: 32,
        max_bindings: 30,
        max_shared_memory_size: 32_768,
        max_cube_count: (u16::MAX as u32, u16::MAX as u32, u16::MAX as u32),
        max_units_per_cube: 1024,
        max_cube_dim: (1024, 1024, 64),
        num_streaming_multiprocessors: None,
        num_tensor_cores: None,
        min_tensor_cores_dim: None,
        num_cpu_cores: None,
        last_level_cache_size: None,
        max_vector_size: VectorSize::MAX,
        cube_mma_reserved_shared_memory: 0,
    };
    let identity = DeviceIdentity {
        name: "offline".to_string(),
        fingerprint: "offline".to_string(),
        physical: None,
    };
    Arc::new(DeviceProperties::new(
        Features::default(),
        MemoryDeviceProperties::new(u64::MAX, 256),
        hardware,
        TimingMethod::Device,
        identity,
    ))
}
