use burn::tensor::Device;

use crate::Error;

const DEVICES: [&str; 9] = [
    "flex", "ndarray", "cpu", "wgpu", "cuda", "rocm", "vulkan", "metal", "webgpu",
];

/// Returns the device with a name.
///
/// # Errors
///
/// If the name is unknown, or its feature is disabled.
pub fn device(name: &str) -> Result<Device, Error> {
    if !DEVICES.contains(&name) {
        let known = DEVICES.join(", ");
        return Err(format!("unknown device `{name}`, expected one of {known}").into());
    }
    compiled_device(name).ok_or_else(|| {
        format!("device {name} is not compiled in: add `--features {name}` to the cargo command")
            .into()
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
        #[cfg(feature = "cuda")]
        "cuda" => Some(Device::cuda(0)),
        #[cfg(feature = "rocm")]
        "rocm" => Some(Device::rocm(0)),
        #[cfg(feature = "vulkan")]
        "vulkan" => Some(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "metal")]
        "metal" => Some(Device::metal(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "webgpu")]
        "webgpu" => Some(Device::webgpu(burn::tensor::DeviceKind::DefaultDevice)),
        _ => None,
    }
}
