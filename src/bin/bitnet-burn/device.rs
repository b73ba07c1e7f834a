//! Devices by name.

use burn::tensor::Device;

use crate::error::Failure;

/// Default device, on the CPU.
const FLEX: &str = "flex";

const DEVICES: [&str; 9] = [
    FLEX, "ndarray", "cpu", "wgpu", "vulkan", "metal", "webgpu", "cuda", "rocm",
];

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
        device(self.name())
    }
}

/// Returns the device with a name.
pub fn device(name: &str) -> Result<Device, Failure> {
    if !DEVICES.contains(&name) {
        let known = DEVICES.join(", ");
        return Err(Failure::usage(format!(
            "--device is one of {known}, got `{name}`"
        )));
    }
    compiled_device(name).ok_or_else(|| {
        Failure::failed(format!(
            "the device {name} is not compiled in: build the program with `--features cli,{name}`"
        ))
    })
}

/// Returns the device of a backend whose feature is enabled.
fn compiled_device(name: &str) -> Option<Device> {
    match name {
        #[cfg(feature = "flex")]
        "flex" => Some(Device::flex()),
        #[cfg(feature = "ndarray")]
        #[allow(deprecated)]
        "ndarray" => Some(Device::ndarray()),
        #[cfg(feature = "cpu")]
        "cpu" => Some(Device::cpu()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Some(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "vulkan")]
        "vulkan" => Some(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "metal")]
        "metal" => Some(Device::metal(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "webgpu")]
        "webgpu" => Some(Device::webgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        "cuda" => Some(Device::cuda(0)),
        #[cfg(feature = "rocm")]
        "rocm" => Some(Device::rocm(0)),
        _ => None,
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
