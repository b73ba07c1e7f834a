//! Devices by name.

use burn::tensor::Device;

const DEVICES: [&str; 7] = ["flex", "ndarray", "cpu", "wgpu", "cuda", "vulkan", "metal"];

/// The device of a name, or one sentence that says why there is none.
pub fn parse_device(name: &str) -> Result<Device, String> {
    if !DEVICES.contains(&name) {
        let known = DEVICES.join(", ");
        return Err(format!("unknown device `{name}`: {known}"));
    }
    compiled_device(name).ok_or_else(|| {
        format!("device {name} is not compiled in: add `--features {name}` to the cargo command")
    })
}

/// The device of a backend whose feature is on.
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
        #[cfg(feature = "vulkan")]
        "vulkan" => Some(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "metal")]
        "metal" => Some(Device::metal(burn::tensor::DeviceKind::DefaultDevice)),
        _ => None,
    }
}
