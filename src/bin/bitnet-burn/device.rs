//! Device of a model.

use burn::tensor::Device;

use crate::error::Failure;

/// Default device, on the CPU.
pub const FLEX: &str = "flex";

/// Device of a model.
#[derive(clap::Args, Debug, Clone)]
pub struct DeviceArguments {
    /// Device: flex (CPU), ndarray, cpu, wgpu, vulkan, metal, webgpu, cuda or rocm, if it is compiled in
    /// [default: flex]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
}

impl DeviceArguments {
    pub fn name(&self) -> &str {
        self.device.as_deref().unwrap_or(FLEX)
    }

    pub fn device(&self) -> Result<Device, Failure> {
        Ok(bitnet_burn::device(self.name())?)
    }
}

/// Runs heavy computation on Flex inside the thread pool: Burn's parallel loops then start in place,
/// without handing each operation over (15 % of a training's time on 2 cores). A pool of one thread is
/// not used, since metrics are computed by other threads.
pub fn on_pool<R: Send>(device: &str, run: impl FnOnce() -> R + Send) -> R {
    match device {
        FLEX if rayon::current_num_threads() > 1 => rayon::scope(|_| run()),
        _ => run(),
    }
}
