use burn::tensor::Device;

/// Names of devices, as features and Burn's `BURN_DEVICE` have them.
const NAMES: [&str; 9] = [
    "flex", "ndarray", "cpu", "wgpu", "vulkan", "metal", "webgpu", "cuda", "rocm",
];

/// Error of a device that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// There is no device of this name.
    #[error("unknown device `{name}`, expected one of {known}")]
    Unknown {
        /// The name.
        name: String,
        /// Names of all devices.
        known: String,
    },
    /// The feature of the device's backend is disabled.
    #[error("the device {name} is not compiled in: add `--features {name}` to the cargo command")]
    NotCompiled {
        /// Name of the device and of the feature.
        name: String,
    },
}

/// Returns the default device of the backend with a name: `flex` or `ndarray` (CPU), `cpu`, `wgpu`, `vulkan`,
/// `metal`, `webgpu`, `cuda` or `rocm`.
///
/// # Errors
///
/// If there is no such name, or the feature of this name is disabled.
///
/// # Example
///
/// ```
/// use bitnet_burn::{DeviceError, device};
///
/// assert!(matches!(device("gpu"), Err(DeviceError::Unknown { .. })));
/// ```
pub fn device(name: &str) -> Result<Device, DeviceError> {
    match name {
        #[cfg(feature = "flex")]
        "flex" => Ok(Device::flex()),
        #[cfg(feature = "ndarray")]
        "ndarray" => Ok(Device::ndarray()),
        #[cfg(feature = "cpu")]
        "cpu" => Ok(Device::cpu()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(Default::default())),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(Device::vulkan(Default::default())),
        #[cfg(feature = "metal")]
        "metal" => Ok(Device::metal(Default::default())),
        #[cfg(feature = "webgpu")]
        "webgpu" => Ok(Device::webgpu(Default::default())),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        #[cfg(feature = "rocm")]
        "rocm" => Ok(Device::rocm(0)),
        name if NAMES.contains(&name) => Err(DeviceError::NotCompiled { name: name.into() }),
        name => Err(DeviceError::Unknown {
            name: name.into(),
            known: NAMES.join(", "),
        }),
    }
}
