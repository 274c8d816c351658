//! What computes the training: a device, or several of a kind that share the shards of each step.
//!
//! Parameters and what the update rule remembers are the first device's. In a step the others get a copy of the
//! parameters, each differentiates its shards, and burn's collective operation adds the gradients of all of them up
//! (`all_reduce`; NVIDIA's NCCL below it). burn 0.22 has that between NVIDIA GPUs of one machine only.

use super::memory;
use super::step;
use crate::net::module::{Arrays, to_vec};
use crate::recipe::DeviceKind;
use anyhow::{Result, bail, ensure};
use burn::tensor::distributed::{CollectiveTensor, ReduceOperation, all_reduce};
use burn::tensor::{Device, FloatDType, Tensor};

/// Opens the device.
///
/// # Errors
/// This build has no support for it, and the message names the cargo feature; or it is a GPU that does not compute.
pub fn open(kind: DeviceKind) -> Result<Device> {
    match kind {
        DeviceKind::Flex => Ok(Device::flex()),
        // Deprecated upstream, kept as an independent second opinion on flex.
        #[allow(deprecated)]
        DeviceKind::Ndarray => Ok(Device::ndarray()),
        #[cfg(feature = "cuda")]
        DeviceKind::Cuda => Ok(gpus(&[0])?.swap_remove(0)),
        #[cfg(not(feature = "cuda"))]
        DeviceKind::Cuda => missing("cuda"),
        #[cfg(feature = "wgpu")]
        DeviceKind::Wgpu => tried(kind, || Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(not(feature = "wgpu"))]
        DeviceKind::Wgpu => missing("wgpu"),
    }
}

/// A GPU that has added two numbers up: burn opens its libraries when it computes, and panics where it cannot.
#[cfg(any(feature = "cuda", feature = "wgpu", test))]
fn tried(kind: DeviceKind, open: impl FnOnce() -> Device) -> Result<Device> {
    let sum = || {
        let device = open();
        let sum = to_vec(Tensor::<1>::from_floats([1.0, 2.0], &device).sum());
        (device, sum)
    };
    match memory::silenced(sum) {
        Ok((device, sum)) if sum == [3.0] => Ok(device),
        Ok((_, sum)) => bail!("the GPU says that 1 + 2 is {sum:?}: train on the CPU with --device flex"),
        Err(reason) => unusable(kind, &reason),
    }
}

/// Refuses a GPU that does not multiply in bf16: older ones do not, nor do those behind Vulkan.
fn check_bf16(device: &Device) -> Result<()> {
    const SIDE: usize = 16;
    let ones = || Tensor::<2>::ones([SIDE, SIDE], device).cast(FloatDType::BF16);
    match memory::silenced(|| to_vec(ones().matmul(ones()).cast(FloatDType::F32))) {
        Ok(product) if product.iter().all(|sum| *sum == SIDE as f32) => Ok(()),
        Ok(_) => bail!("the GPU multiplies in bf16, but wrongly: give --precision f32"),
        Err(reason) => bail!("the GPU does not multiply in bf16 ({reason}): give --precision f32"),
    }
}

/// No GPU of `kind`, for `reason`.
#[cfg(any(feature = "cuda", feature = "wgpu", test))]
fn unusable<T>(kind: DeviceKind, reason: &str) -> Result<T> {
    if memory::OutOfMemory::of(reason).is_some() {
        bail!(
            "the GPU's memory is full before training begins ({reason}): close other programs that use it (nvidia-smi lists \
             those of an NVIDIA GPU), or train on the CPU with --device flex"
        );
    }
    let (gpu, remedy) = match kind {
        DeviceKind::Cuda => ("NVIDIA GPU", "NVIDIA's driver and a CUDA toolkit of its version (NVRTC and the headers)"),
        _ => ("GPU", "a driver with Vulkan, Metal or Direct3D"),
    };
    bail!("no {gpu} can be used here ({reason}): install {remedy}, or train on the CPU with --device flex")
}

#[cfg(not(all(feature = "cuda", feature = "wgpu")))]
fn missing<T>(feature: &str) -> Result<T> {
    anyhow::bail!(
        "this build of ocellus has no support for the device {feature}; build it with `cargo build --release --features {feature}`, \
         or use --device flex"
    )
}

/// Adds up arrays of the same names that each of some devices has: the sum, on the first one.
type Reduce = fn(Vec<Arrays>, &[Device]) -> Arrays;

/// Devices that train together, at least one.
#[derive(Clone, Debug)]
pub struct Devices {
    list: Vec<Device>,
    reduce: Reduce,
}

impl Devices {
    /// The devices of `kind` with these numbers, or its usual one where there are none. Each is to have at least one of a
    /// step's `shards`, and where training is `mixed`, to multiply in bf16.
    ///
    /// # Errors
    /// As for [`open`]; numbers of anything but NVIDIA GPUs, one twice, one that there is not; fewer shards; or no bf16.
    pub fn open(kind: DeviceKind, numbers: &[usize], shards: usize, mixed: bool) -> Result<Self> {
        let list = match numbers {
            [] => vec![open(kind)?],
            _ => numbered(kind, numbers)?,
        };
        ensure!(
            list.len() <= shards,
            "{} devices share the shards of each step, of which there are {shards}: set --set train.shards={0} or more",
            list.len()
        );
        if mixed {
            list.iter().try_for_each(check_bf16)?;
        }
        Ok(Self { list, reduce: reduced_by_burn })
    }

    /// The device that has the parameters.
    pub fn first(&self) -> &Device {
        &self.list[0]
    }

    /// The device of shard `index`, and its number among the devices.
    pub fn of_shard(&self, index: usize) -> (usize, &Device) {
        let number = index % self.list.len();
        (number, &self.list[number])
    }

    /// Copies of `arrays` for the devices behind the first.
    pub fn copies(&self, arrays: &Arrays) -> Vec<Arrays> {
        self.list[1..].iter().map(|device| moved(arrays, device)).collect()
    }

    /// The sum of each shard's gradients, on the first device. A single device adds them up in their order.
    pub fn sum<'a>(&self, shards: impl Iterator<Item = &'a Arrays>) -> Arrays {
        if self.list.len() == 1 {
            return step::sum(shards);
        }
        let shards: Vec<&Arrays> = shards.collect();
        let share = |number: usize| step::sum(shards.iter().skip(number).step_by(self.list.len()).copied());
        let mut shares: Vec<Arrays> = (0..self.list.len()).map(share).collect();
        // Whoever waits for the sum waits for all devices: one without a shard takes part with zeros.
        let (first, others) = shares.split_first_mut().expect("there is a device");
        for (share, device) in others.iter_mut().zip(&self.list[1..]).filter(|(share, _)| share.is_empty()) {
            *share = first.iter().map(|(name, array)| (name.clone(), array.zeros_like().to_device(device))).collect();
        }
        (self.reduce)(shares, &self.list)
    }

    /// Each shard's statistics, on the first device.
    pub fn gathered<'a>(&self, shards: impl Iterator<Item = &'a Arrays>) -> Vec<Arrays> {
        let is_shared = self.list.len() > 1;
        shards.map(|arrays| if is_shared { moved(arrays, self.first()) } else { arrays.clone() }).collect()
    }
}

/// The NVIDIA GPUs with these numbers.
fn numbered(kind: DeviceKind, numbers: &[usize]) -> Result<Vec<Device>> {
    ensure!(
        kind == DeviceKind::Cuda,
        "--devices chooses among NVIDIA GPUs, between which burn can add gradients up: give --device cuda too, or leave \
         --devices out"
    );
    if let Some(twice) = (1..numbers.len()).find(|i| numbers[..*i].contains(&numbers[*i])) {
        bail!("--devices names GPU {} twice", numbers[twice]);
    }
    gpus(numbers)
}

#[cfg(feature = "cuda")]
fn gpus(numbers: &[usize]) -> Result<Vec<Device>> {
    let enumerated = memory::silenced(|| Device::enumerate(burn::tensor::DeviceType::Cuda).len());
    let count = enumerated.or_else(|reason| unusable(DeviceKind::Cuda, &reason))?;
    if count == 0 {
        return unusable(DeviceKind::Cuda, "the driver finds none, or is not there");
    }
    if let Some(missing) = numbers.iter().find(|number| **number >= count) {
        bail!("there is no GPU {missing}: this machine has {count}, counted from 0 as nvidia-smi does");
    }
    numbers.iter().map(|number| tried(DeviceKind::Cuda, || Device::cuda(*number))).collect()
}

#[cfg(not(feature = "cuda"))]
fn gpus(_: &[usize]) -> Result<Vec<Device>> {
    missing("cuda")
}

fn moved(arrays: &Arrays, device: &Device) -> Arrays {
    arrays.iter().map(|(name, array)| (name.clone(), array.clone().to_device(device))).collect()
}

/// The sum by burn's collective operation, after which each device has it.
fn reduced_by_burn(shares: Vec<Arrays>, devices: &[Device]) -> Arrays {
    let begin = |share: Arrays| -> Vec<(String, CollectiveTensor<1>)> {
        let sum = |array| all_reduce(array, ReduceOperation::Sum, devices.to_vec());
        share.into_iter().map(|(name, array)| (name, sum(array))).collect()
    };
    // None is waited for before every device has begun.
    let begun: Vec<_> = shares.into_iter().map(begin).collect();
    let end = |sums: Vec<(String, CollectiveTensor<1>)>| sums.into_iter().map(|(name, sum)| (name, sum.resolve()));
    begun.into_iter().map(|sums| end(sums).collect::<Arrays>()).collect::<Vec<_>>().swap_remove(0)
}

#[cfg(test)]
impl Devices {
    /// CPUs in place of GPUs, whose arrays are added up without burn's collective operation: it has none for CPUs.
    pub fn cpus(count: usize) -> Self {
        let reduce: Reduce = |shares, devices| {
            assert_eq!(shares.len(), devices.len());
            assert!(shares.iter().all(|share| share.keys().eq(shares[0].keys())), "a device would wait for ever");
            step::sum(shares.iter())
        };
        Self { list: vec![Device::flex(); count], reduce }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(values: [f32; 2]) -> Arrays {
        Arrays::from([("a".to_owned(), Tensor::from_floats(values, &Device::flex()))])
    }

    #[test]
    fn shards_are_added_up_whatever_the_number_of_devices() {
        let shards = [[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]].map(shard);
        for count in 1..=5 {
            let devices = Devices::cpus(count);
            assert_eq!(devices.of_shard(7).0, 7 % count);
            assert_eq!(devices.copies(&shards[0]).len(), count - 1);
            let sum = devices.sum(shards.iter()).remove("a").unwrap();
            assert_eq!(to_vec(sum), [111.0, 222.0], "{count} devices");
            assert_eq!(devices.gathered(shards.iter()).len(), 3);
        }
    }

    #[test]
    fn a_gpu_is_tried_before_anything_is_begun() {
        assert!(tried(DeviceKind::Wgpu, Device::flex).is_ok());
        assert!(check_bf16(&Device::flex()).is_ok());
        let fails =
            |kind, text: &'static str| format!("{:#}", tried(kind, || std::panic::panic_any(text)).unwrap_err());
        let error = |kind| fails(kind, "Unable to load libcuda\nand so on");
        let said = error(DeviceKind::Cuda);
        assert!(
            said.starts_with("no NVIDIA GPU can be used here (Unable to load libcuda): install NVIDIA's driver"),
            "{said}"
        );
        assert!(error(DeviceKind::Wgpu).contains("Vulkan") && said.ends_with("--device flex"));
        let said =
            fails(DeviceKind::Cuda, "called `unwrap()` on an `Err` value\nCaused by:\n  CUDA_ERROR_OUT_OF_MEMORY");
        assert!(
            said.contains("full before training begins (CUDA_ERROR_OUT_OF_MEMORY): close other programs"),
            "{said}"
        );
    }

    #[test]
    fn numbers_that_choose_nothing_are_refused() {
        let error =
            |kind, numbers: &[usize], shards| format!("{:#}", Devices::open(kind, numbers, shards, false).unwrap_err());
        assert!(error(DeviceKind::Flex, &[0, 1], 2).contains("give --device cuda"));
        assert!(error(DeviceKind::Cuda, &[0, 1, 0], 4).contains("GPU 0 twice"));
        if cfg!(not(feature = "cuda")) {
            assert!(error(DeviceKind::Cuda, &[0, 1], 2).contains("--features cuda"));
        }
        assert!(Devices::open(DeviceKind::Flex, &[], 1, false).is_ok());
        assert!(!Device::enumerate(burn::tensor::DeviceType::Flex).is_empty());
    }
}
