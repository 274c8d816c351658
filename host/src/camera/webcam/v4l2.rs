//! Cameras of Linux: V4L2, "Video for Linux Two" (the kernel's userspace API guide, part I), its buffers mapped.

use std::io;
use std::path::Path;
use std::time::Duration;

use moq_v4l::buffer::{Flags, Type};
use moq_v4l::format::{Colorspace, Quantization};
use moq_v4l::framesize::FrameSizeEnum;
use moq_v4l::io::mmap::Stream;
use moq_v4l::io::traits::CaptureStream;
use moq_v4l::video::Capture;
use moq_v4l::{Format, FourCC};

use super::{Device, FourCc, Mode, Offer, Sizes};

/// Longest wait for a frame.
const PATIENCE: Duration = Duration::from_secs(5);
/// Frames that wait to be taken. One is filled while the other is looked at: with more of them what is seen would be old.
const BUFFERS: u32 = 2;

/// A camera that is open.
pub struct Camera {
    device: moq_v4l::Device,
    stream: Option<Stream<'static>>,
}

impl Camera {
    /// The camera at `path`.
    ///
    /// # Errors
    /// There is none, or it may not be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { device: moq_v4l::Device::with_path(path)?, stream: None })
    }
}

/// Every device that is called a camera, by path and sorted.
pub fn list() -> Vec<String> {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut paths: Vec<String> =
        names.filter(|name| name.starts_with("video")).map(|name| format!("/dev/{name}")).collect();
    paths.sort();
    paths
}

impl Device for Camera {
    fn offers(&mut self) -> io::Result<Vec<Offer>> {
        // Any device answers that it has no formats, and only a camera which it is set to.
        self.device.format()?;
        let formats = self.device.enum_formats()?;
        Ok(formats.iter().map(|format| Offer { code: format.fourcc.repr, sizes: self.sizes(format.fourcc) }).collect())
    }

    fn set(&mut self, code: FourCc, [width, height]: [u32; 2]) -> io::Result<Mode> {
        let set = self.device.set_format(&Format::new(width, height, FourCC::new(&code)))?;
        let full_range = match set.quantization {
            Quantization::FullRange => true,
            Quantization::LimitedRange => false,
            // What the guide has as each colour space's own.
            Quantization::Default => matches!(set.colorspace, Colorspace::JPEG),
        };
        Ok(Mode { code: set.fourcc.repr, size: [set.width, set.height], stride: set.stride, full_range })
    }

    fn next(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let mut stream = Stream::with_buffers(&self.device, Type::VideoCapture, BUFFERS)?;
                stream.set_timeout(PATIENCE);
                none.insert(stream)
            }
        };
        match stream.next() {
            Ok((_, about)) if about.flags.contains(Flags::ERROR) => take(&[]),
            Ok((bytes, about)) => take(bytes.get(..about.bytesused as usize).unwrap_or(bytes)),
            Err(error) => {
                // The stream no longer knows which of its buffers the driver has.
                self.stream = None;
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Camera {
    /// Sizes of a format; those of a camera that does not tell are what it is set to.
    fn sizes(&self, code: FourCC) -> Vec<Sizes> {
        let Ok(sizes) = self.device.enum_framesizes(code) else {
            let set = self.device.format();
            return set.map(|set| vec![Sizes::Fixed([set.width, set.height])]).unwrap_or_default();
        };
        let sizes = sizes.into_iter().map(|sizes| match sizes.size {
            FrameSizeEnum::Discrete(size) => Sizes::Fixed([size.width, size.height]),
            FrameSizeEnum::Stepwise(steps) => Sizes::Steps {
                least: [steps.min_width, steps.min_height],
                most: [steps.max_width, steps.max_height],
                step: [steps.step_width, steps.step_height],
            },
        });
        sizes.collect()
    }
}
