//! What computes the training.

use crate::recipe::DeviceKind;
use anyhow::Result;
use burn::tensor::Device;

/// Opens the device.
///
/// # Errors
/// This build has no support for it; the message names the cargo feature.
pub fn open(kind: DeviceKind) -> Result<Device> {
    match kind {
        DeviceKind::Flex => Ok(Device::flex()),
        // Deprecated upstream, kept as an independent second opinion on flex.
        #[allow(deprecated)]
        DeviceKind::Ndarray => Ok(Device::ndarray()),
        #[cfg(feature = "cuda")]
        DeviceKind::Cuda => Ok(Device::cuda(0)),
        #[cfg(not(feature = "cuda"))]
        DeviceKind::Cuda => missing("cuda"),
        #[cfg(feature = "wgpu")]
        DeviceKind::Wgpu => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(not(feature = "wgpu"))]
        DeviceKind::Wgpu => missing("wgpu"),
    }
}

#[cfg(not(all(feature = "cuda", feature = "wgpu")))]
fn missing(feature: &str) -> Result<Device> {
    anyhow::bail!(
        "this build of ocellus has no support for the device {feature}; build it with `cargo build --release --features {feature}`, \
         or use --device flex"
    )
}
