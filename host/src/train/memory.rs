//! A GPU whose memory does not hold a step: told from every other failure, and what would fit is found by trying.
//!
//! burn computes later than it is asked to, so that whoever reads a result first hears of it: by a panic, in the words of
//! the library below.

use super::Trainer;
use super::batches::Batch;
use crate::net::module::to_vec;
use crate::recipe::DeviceKind;
use crate::view;
use std::any::Any;
use std::iter::successors;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::sync::Once;

/// What cubecl 0.11 (`IoError`, `LaunchError`), the CUDA driver, and wgpu 30 say when memory is full, or was never large
/// enough.
const FULL: [&str; 7] = [
    "out of device memory allocating",
    "can't allocate buffer of size",
    "every page size the memory tracks still holds live allocations",
    "An out-of-memory error happened during launch",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "wgpu error: Out of Memory",
    "is greater than the maximum buffer size",
];

/// The device's memory is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfMemory(String);

impl OutOfMemory {
    /// What a panic with `text` says of memory, in the line that says it; nothing where it says something else.
    pub fn of(text: &str) -> Option<Self> {
        let says = |line: &&str| FULL.iter().any(|words| line.contains(words));
        text.lines().find(says).map(|line| Self(line.trim().to_owned()))
    }
}

impl std::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OutOfMemory {}

/// What a panic said.
fn text(payload: &(dyn Any + Send)) -> &str {
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default()
}

/// Does `work`, unless the device's memory is full. Any other panic goes on.
///
/// # Errors
/// The device's memory is full. What `work` changed is half done.
pub fn catch_out_of_memory<T>(work: impl FnOnce() -> T) -> Result<T, OutOfMemory> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| match OutOfMemory::of(text(&*payload)) {
        Some(full) => full,
        None => resume_unwind(payload),
    })
}

/// Says nothing of the panics that [`catch_out_of_memory`] makes errors of, from now on, if the device is a GPU.
pub fn silence_out_of_memory(device: DeviceKind) {
    static ONCE: Once = Once::new();
    if device.is_cpu() {
        return;
    }
    ONCE.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if OutOfMemory::of(text(panic.payload())).is_none() {
                usual(panic);
            }
        }));
    });
}

/// Does `work` without a word on its panics.
///
/// # Errors
/// It panics: what it said, in one line, that of memory if there is one. Where a thread of burn's panicked and ours found
/// only that it was gone, what that thread said.
pub fn silenced<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    use std::sync::{Arc, Mutex, PoisonError};
    let first = Arc::new(Mutex::new(None));
    let (usual, heard) = (take_hook(), Arc::clone(&first));
    set_hook(Box::new(move |panic| {
        heard.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| text(panic.payload()).to_owned());
    }));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    set_hook(usual);
    outcome.map_err(|payload| {
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let said =
            first.filter(|_| text(&*payload).contains("RecvError")).unwrap_or_else(|| text(&*payload).to_owned());
        let line = || said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it panics").to_owned();
        OutOfMemory::of(&said).map_or_else(line, |full| full.to_string())
    })
}

/// The largest of a half, a quarter, an eighth... of `batch` images that `holds` a step of, if a step of any does.
pub fn largest(batch: usize, holds: &mut dyn FnMut(usize) -> bool) -> Option<usize> {
    successors(Some(batch / 2), |images| Some(images / 2))
        .take_while(|images| *images > 0)
        .find(|images| holds(*images))
}

/// What to do where `batch` images are too many and `fits` are not.
pub fn advice(batch: usize, fits: Option<usize>) -> String {
    match fits {
        Some(fits) => format!(
            "the GPU's memory does not hold a step of {batch} images: try --batch-size {fits}, of which a step was found to fit"
        ),
        None => format!(
            "the GPU's memory does not hold a step of {batch} images, nor of a single one: close other programs that use \
             it, or train a smaller network, smaller images (--img-size), or on the CPU (--device flex)"
        ),
    }
}

impl Trainer<'_> {
    /// Why training ended where the device's memory was `full`, and what would fit.
    pub(super) fn out_of_memory(&self, full: OutOfMemory) -> anyhow::Error {
        let batch = self.recipe.train.batch_size.min(self.dataset.train.len());
        self.bar.finish_and_clear();
        view::note(&format!("the memory does not hold a step of {batch} images; trying smaller ones"));
        let fits = largest(batch, &mut |images| self.holds(images));
        anyhow::Error::new(full).context(advice(batch, fits))
    }

    /// Whether the device's memory holds a step of so many images: a first one is tried, on black images.
    pub(super) fn holds(&self, images: usize) -> bool {
        let input = self.backbone().map_or(self.trainable().input(), |(backbone, _)| backbone.input());
        let classes = self.dataset.classes.len();
        let (labels, targets) = (vec![0; images], vec![1.0 / classes as f32; images * classes]);
        let taught = if self.recipe.distill.is_on() { targets.clone() } else { Vec::new() };
        let batch = Batch { images: vec![0.0; images * input.len()], labels, targets, taught };
        self.device.memory_cleanup();
        let tried = catch_out_of_memory(|| {
            // The run's own may be what was never computed.
            let arrays = self.module.upload(&self.module.initial(self.recipe.train.seed), &self.device)?;
            let parts = self.differentiate(&arrays, &batch, 0);
            let gradients = self.devices.sum(parts.iter().map(|part| &part.gradients));
            // What is not read may never be computed.
            gradients.into_values().for_each(|gradient| drop(to_vec(gradient)));
            Ok::<_, anyhow::Error>(())
        });
        matches!(tried, Ok(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::workers::Workers;

    /// Texts of panics as the libraries' formats make them.
    const TEXTS: [&str; 5] = [
        "Error while reading data: use `try_into_data` instead to catch the error at runtime: Generic { reason: \"An error \
         happened during execution: out of device memory allocating 1073741824 bytes\\n\" }",
        "called `Result::unwrap()` on an `Err` value: can't allocate buffer of size: 34359738368\nbacktrace",
        "An out-of-memory error happened during launch\nCaused by:\n  CUDA_ERROR_OUT_OF_MEMORY\nBacktrace\n",
        "wgpu error: Out of Memory\n",
        "wgpu error: Validation Error\n\nCaused by:\n  In Device::create_buffer\n    Buffer size 4294967296 is greater than \
         the maximum buffer size (2147483648)\n",
    ];

    #[test]
    fn full_memory_is_told_from_other_failures() {
        for text in TEXTS {
            assert!(OutOfMemory::of(text).is_some(), "{text}");
        }
        assert_eq!(OutOfMemory::of(TEXTS[1]).unwrap().to_string().lines().count(), 1);
        for other in ["", "index out of bounds: the len is 3 but the index is 7", "wgpu error: Parent device is lost"] {
            assert_eq!(OutOfMemory::of(other), None, "{other}");
        }
    }

    #[test]
    fn a_panic_for_want_of_memory_is_an_error_and_any_other_goes_on() {
        assert_eq!(catch_out_of_memory(|| 7), Ok(7));
        let workers = Workers::new(2).unwrap();
        let fail = |text: &'static str| {
            catch_out_of_memory(|| {
                workers.map(&[0, 1, 2], |i, _| if i == 1 { std::panic::panic_any(text.to_owned()) } else { i })
            })
        };
        let full = fail(TEXTS[1]).unwrap_err();
        assert!(full.to_string().ends_with("can't allocate buffer of size: 34359738368"), "{full}");
        assert!(catch_out_of_memory(|| panic!("wgpu error: Out of Memory")).map(|()| 0).is_err());
        let other = catch_unwind(AssertUnwindSafe(|| fail("another failure"))).unwrap_err();
        assert_eq!(text(&*other), "another failure");
    }

    #[test]
    fn the_largest_batch_that_fits_is_named() {
        let mut tried = Vec::new();
        let mut holds = |images| {
            tried.push(images);
            images <= 100
        };
        assert_eq!(largest(512, &mut holds), Some(64));
        assert_eq!(tried, [256, 128, 64]);
        assert_eq!(largest(5, &mut |images| images < 2), Some(1));
        assert_eq!(largest(5, &mut |_| false), None);
        assert_eq!(largest(1, &mut |_| true), None);
        assert!(advice(512, Some(64)).contains("step of 512 images: try --batch-size 64"));
        assert!(advice(1, None).contains("--img-size") && advice(1, None).contains("--device flex"));
    }
}
