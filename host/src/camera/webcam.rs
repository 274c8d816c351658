//! This machine's own camera, for an emulated board to look through.
//!
//! A camera offers formats and sizes; of those that are known here the smallest is taken that loses nothing of what the
//! board's sensor would show. Its pictures then take the way of all others ([`super::shoot`]). The operating system's
//! part is behind [`Device`]: V4L2 on Linux, and nothing elsewhere.

mod pixels;
#[cfg(target_os = "linux")]
mod v4l2;

use std::io;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use pixels::Coding;

use crate::data::picture::Picture;

/// Damaged frames in a row after which a camera is given up: some start with a few.
const MOST_DAMAGED: u32 = 30;
/// Error numbers of Linux that the standard library has no name for: input or output failed, no such device, not a
/// device of this kind.
const EIO: i32 = 5;
const ENXIO: i32 = 6;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const ENOTTY: i32 = 25;

/// Name of a pixel format: four characters, as `videodev2.h` has them.
pub type FourCc = [u8; 4];

/// Sizes that a camera can be set to, each columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// This one.
    Fixed([u32; 2]),
    /// All from one to another, in steps.
    Steps {
        /// The smallest.
        least: [u32; 2],
        /// The largest.
        most: [u32; 2],
        /// From one to the next.
        step: [u32; 2],
    },
}

impl Sizes {
    /// The size nearest to `wanted` that is not smaller; the largest where all are.
    fn nearest(self, wanted: [u32; 2]) -> [u32; 2] {
        match self {
            Self::Fixed(size) => size,
            Self::Steps { least, most, step } => [0, 1].map(|side| {
                let above = wanted[side].saturating_sub(least[side]).div_ceil(step[side].max(1));
                let sought = least[side].saturating_add(above.saturating_mul(step[side].max(1)));
                if sought <= most[side] { sought } else { most[side] }
            }),
        }
    }
}

/// A format with the sizes that there are of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The format.
    pub code: FourCc,
    /// Its sizes.
    pub sizes: Vec<Sizes>,
}

/// What a camera is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// The format.
    pub code: FourCc,
    /// Columns and rows.
    pub size: [u32; 2],
    /// Bytes from one row to the next; 0 for rows without gaps.
    pub stride: u32,
    /// Whether brightness takes all 256 levels, not those from 16 to 235 only.
    pub full_range: bool,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [width, height] = self.size;
        write!(f, "{width}x{height} in {}", text(self.code))
    }
}

/// A camera as the operating system has it.
pub trait Device {
    /// What it can be set to.
    ///
    /// # Errors
    /// It is no camera, or gone.
    fn offers(&mut self) -> io::Result<Vec<Offer>>;

    /// Sets it, as near as it can: to what.
    ///
    /// # Errors
    /// It is in use, or gone.
    fn set(&mut self, code: FourCc, size: [u32; 2]) -> io::Result<Mode>;

    /// Waits for the next frame and shows its bytes to `take`.
    ///
    /// # Errors
    /// None comes for some seconds, a signal comes instead ([`io::ErrorKind::Interrupted`]), it is in use, or gone.
    fn next(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<()>;
}

/// A camera that is set up.
pub struct Webcam {
    name: String,
    device: Box<dyn Device>,
    mode: Mode,
}

impl Webcam {
    /// The camera at `path`, such as `/dev/video0`, with frames of `wanted` columns and rows or the next larger ones.
    ///
    /// # Errors
    /// There is none, this user may not open it, another program uses it, or it has no format that is known here; and
    /// always on anything but Linux.
    #[cfg(target_os = "linux")]
    pub fn open(path: &Path, wanted: [u32; 2]) -> Result<Self> {
        let name = path.display().to_string();
        let device = v4l2::Camera::open(path).map_err(|error| not_opened(&name, error, &v4l2::list()))?;
        Self::set_up(name, Box::new(device), wanted)
    }

    /// Refuses: there is no way to the camera here.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(target_os = "linux"))]
    pub fn open(path: &Path, _: [u32; 2]) -> Result<Self> {
        bail!("{}: this machine's camera can be looked through on Linux only: give pictures instead", path.display())
    }

    /// The camera `device`, which messages call `name`.
    ///
    /// # Errors
    /// As for [`Webcam::open`].
    pub fn set_up(name: String, mut device: Box<dyn Device>, wanted: [u32; 2]) -> Result<Self> {
        let offers = device.offers().map_err(|error| not_opened(&name, error, &[]))?;
        let (code, size) = choose(&offers, wanted).with_context(|| name.clone())?;
        let mode = device.set(code, size).map_err(|error| not_opened(&name, error, &[]))?;
        if Coding::of(mode.code).is_none() || mode.size.iter().any(|side| !(1..=u16::MAX.into()).contains(side)) {
            bail!("{name} was set to {}x{} in {} and made {mode} of it", size[0], size[1], text(code));
        }
        Ok(Self { name, device, mode })
    }

    /// What it is set to.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What it sees now; nothing where a signal came instead of a frame.
    ///
    /// # Errors
    /// It was unplugged, gives no frames, or damaged ones only.
    pub fn look(&mut self) -> Result<Option<Picture>> {
        for _ in 0..MOST_DAMAGED {
            let (mut seen, mode) = (None, self.mode);
            match self.device.next(&mut |bytes| seen = pixels::picture(&mode, bytes)) {
                Ok(()) if seen.is_some() => return Ok(seen),
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
                Err(error) => return Err(self.lost(error)),
            }
        }
        bail!(
            "{} gives damaged frames only, {MOST_DAMAGED} of {} in a row: plug it in at another socket",
            self.name,
            self.mode
        )
    }

    /// Why no frame came.
    fn lost(&self, error: io::Error) -> anyhow::Error {
        let name = &self.name;
        let what = match (error.kind(), error.raw_os_error()) {
            (_, Some(ENODEV | ENXIO | EIO)) => {
                format!("{name} was unplugged in the middle, or its cable is bad: plug it in again and start anew")
            }
            (io::ErrorKind::TimedOut, _) => {
                format!("{name} gives no frames: look for a cover or a switch on it, or plug it in again")
            }
            (io::ErrorKind::ResourceBusy, _) => in_use(name),
            _ => format!("{name} gives no frames"),
        };
        anyhow!(error).context(what)
    }
}

/// Why a camera could not be opened or set up, where there are the cameras `others`.
fn not_opened(name: &str, error: io::Error, others: &[String]) -> anyhow::Error {
    let what = match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::NotFound, _) | (_, Some(ENODEV | ENXIO)) => match others {
            [] => format!("no camera at {name}, and none elsewhere: plug one in"),
            _ => format!("no camera at {name}; there are: {}", others.join(", ")),
        },
        (io::ErrorKind::PermissionDenied, _) => format!(
            "no permission to open {name}: add yourself to group video with `sudo usermod -aG video $USER`, then log \
             out and in again"
        ),
        (io::ErrorKind::ResourceBusy, _) => in_use(name),
        (_, Some(ENOTTY | EINVAL)) => {
            format!("{name} is no camera that gives pictures: a camera may have several devices, of which one does")
        }
        _ => format!("cannot open {name}"),
    };
    anyhow!(error).context(what)
}

fn in_use(name: &str) -> String {
    format!("{name} is in use: close the other program, which `fuser -v {name}` names")
}

/// The format and size to set a camera to: the smallest that is not smaller than `wanted`, else the largest; of several
/// formats the one that comes first in [`Coding::KNOWN`]. Its last, which has no colours, only where there is nothing else.
fn choose(offers: &[Offer], wanted: [u32; 2]) -> Result<(FourCc, [u32; 2])> {
    let rank = |code: FourCc| Coding::KNOWN.iter().position(|(known, _)| *known == code);
    let modes = offers.iter().filter_map(|offer| Some((rank(offer.code)?, offer)));
    let modes = modes.flat_map(|(rank, offer)| offer.sizes.iter().map(move |sizes| (rank, offer.code, *sizes)));
    let best = modes
        .map(|(rank, code, sizes)| (rank, code, sizes.nearest(wanted)))
        .filter(|(_, _, size)| size.iter().all(|side| (1..=u16::MAX.into()).contains(side)))
        .min_by_key(|(rank, _, [width, height])| {
            let (fits, area) = (*width >= wanted[0] && *height >= wanted[1], u64::from(*width) * u64::from(*height));
            (rank + 1 == Coding::KNOWN.len(), !fits, if fits { area } else { u64::MAX - area }, *rank)
        });
    let names = |codes: &mut dyn Iterator<Item = FourCc>| codes.map(text).collect::<Vec<_>>().join(", ");
    best.map(|(_, code, size)| (code, size)).ok_or_else(|| match offers {
        [] => anyhow!("it gives no pictures: a camera may have several devices, of which one does"),
        _ => anyhow!(
            "it gives {} only, of which none is known here; known are {}",
            names(&mut offers.iter().map(|offer| offer.code)),
            names(&mut Coding::KNOWN.iter().map(|(code, _)| *code))
        ),
    })
}

/// A format's name for people.
fn text(code: FourCc) -> String {
    code.escape_ascii().to_string().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A camera whose every answer is known before.
    struct Fake {
        offers: Option<Vec<Offer>>,
        mode: Result<Mode, i32>,
        frames: VecDeque<Result<Vec<u8>, io::Error>>,
    }

    impl Device for Fake {
        fn offers(&mut self) -> io::Result<Vec<Offer>> {
            self.offers.take().ok_or(io::Error::from_raw_os_error(ENOTTY))
        }

        fn set(&mut self, _: FourCc, _: [u32; 2]) -> io::Result<Mode> {
            self.mode.map_err(io::Error::from_raw_os_error)
        }

        fn next(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
            take(&self.frames.pop_front().unwrap_or_else(|| Err(io::Error::from_raw_os_error(ENODEV)))?);
            Ok(())
        }
    }

    const GREY: Mode = Mode { code: *b"GREY", size: [2, 1], stride: 0, full_range: true };

    fn offer(code: &FourCc, sizes: &[[u32; 2]]) -> Offer {
        Offer { code: *code, sizes: sizes.iter().map(|size| Sizes::Fixed(*size)).collect() }
    }

    fn camera(offers: Option<Vec<Offer>>, mode: Result<Mode, i32>) -> Result<Webcam> {
        Webcam::set_up("/dev/video7".to_owned(), Box::new(Fake { offers, mode, frames: VecDeque::new() }), [160, 120])
    }

    fn seeing(frames: Vec<Result<Vec<u8>, io::Error>>) -> Webcam {
        let device = Fake { offers: Some(vec![offer(b"GREY", &[[2, 1]])]), mode: Ok(GREY), frames: frames.into() };
        Webcam::set_up("/dev/video7".to_owned(), Box::new(device), [160, 120]).unwrap()
    }

    #[track_caller]
    fn fails<T>(result: Result<T>, parts: &[&str]) {
        let message = format!("{:#}", result.err().expect("it fails"));
        for part in parts {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
    }

    #[test]
    fn the_smallest_size_that_loses_nothing_is_taken() {
        let yuyv = offer(b"YUYV", &[[640, 480], [176, 144], [160, 90], [320, 240]]);
        let mjpg = offer(b"MJPG", &[[640, 480], [160, 120]]);
        let none = offer(b"H264", &[[160, 120]]);
        assert_eq!(choose(&[yuyv.clone(), none.clone()], [160, 120]).unwrap(), (*b"YUYV", [176, 144]));
        assert_eq!(choose(&[yuyv.clone(), mjpg.clone()], [160, 120]).unwrap(), (*b"MJPG", [160, 120]));
        // Of equals the one that costs nothing to decode, and of those that are too small the largest.
        assert_eq!(choose(&[mjpg, yuyv.clone()], [640, 480]).unwrap(), (*b"YUYV", [640, 480]));
        assert_eq!(choose(&[yuyv], [1000, 1000]).unwrap(), (*b"YUYV", [640, 480]));
        let grey = offer(b"GREY", &[[160, 120]]);
        assert_eq!(choose(&[grey.clone(), offer(b"YUYV", &[[640, 480]])], [160, 120]).unwrap(), (*b"YUYV", [640, 480]));
        assert_eq!(choose(&[grey], [320, 240]).unwrap(), (*b"GREY", [160, 120]));
        fails(choose(&[none, offer(b"S16 ", &[])], [160, 120]), &["gives H264, S16 only", "known are YUYV, UYVY"]);
        fails(choose(&[], [160, 120]), &["no pictures", "several devices"]);
        fails(choose(&[offer(b"YUYV", &[[0, 120]])], [160, 120]), &["none is known"]);
    }

    #[test]
    fn sizes_in_steps_are_met_from_above() {
        let sizes = Sizes::Steps { least: [48, 32], most: [1920, 100], step: [32, 2] };
        assert_eq!(sizes.nearest([160, 33]), [176, 34]);
        assert_eq!(sizes.nearest([1, 1]), [48, 32]);
        assert_eq!(sizes.nearest([160, 120]), [176, 100]);
        let still = Sizes::Steps { least: [10, 10], most: [10, 10], step: [0, 0] };
        assert_eq!(still.nearest([160, 120]), [10, 10]);
        let endless = Sizes::Steps { least: [1, 1], most: [u32::MAX, u32::MAX], step: [1, 1] };
        assert_eq!(endless.nearest([160, 120]), [160, 120]);
        assert_eq!(endless.nearest([u32::MAX, 1]), [u32::MAX, 1]);
    }

    #[test]
    fn frames_come_damaged_ones_are_passed_over_and_a_signal_is_no_failure() {
        let interrupted = io::Error::from(io::ErrorKind::Interrupted);
        let mut camera = seeing(vec![Ok(vec![]), Ok(vec![7]), Ok(vec![10, 200]), Err(interrupted), Ok(vec![1, 2])]);
        let seen = camera.look().unwrap().unwrap();
        assert_eq!((seen.width, seen.height, seen.pixels), (2, 1, vec![10, 10, 10, 200, 200, 200]));
        assert_eq!(camera.look().unwrap(), None);
        assert_eq!(camera.look().unwrap().unwrap().pixels, [1, 1, 1, 2, 2, 2]);
        fails(camera.look(), &["/dev/video7 was unplugged in the middle", "plug it in again"]);
        let mut broken = seeing((0..MOST_DAMAGED).map(|_| Ok(vec![0])).collect());
        fails(broken.look(), &["damaged frames only, 30 of 2x1 in GREY"]);
        let mut covered = seeing(vec![Err(io::ErrorKind::TimedOut.into())]);
        fails(covered.look(), &["gives no frames", "cover"]);
    }

    #[test]
    fn what_keeps_a_camera_from_being_used_is_told_with_its_remedy() {
        let error = io::Error::from;
        let told = |error, others: &[&str]| {
            let others: Vec<String> = others.iter().map(|name| (*name).to_owned()).collect();
            format!("{:#}", not_opened("/dev/video7", error, &others))
        };
        let denied = told(error(io::ErrorKind::PermissionDenied), &[]);
        assert!(denied.contains("no permission") && denied.contains("usermod -aG video $USER"), "{denied}");
        let elsewhere = told(error(io::ErrorKind::NotFound), &["/dev/video0", "/dev/video2"]);
        assert!(elsewhere.contains("no camera at /dev/video7; there are: /dev/video0, /dev/video2"), "{elsewhere}");
        assert!(told(error(io::ErrorKind::NotFound), &[]).contains("plug one in"));
        assert!(told(error(io::ErrorKind::ResourceBusy), &[]).contains("fuser -v /dev/video7"));
        fails(camera(None, Ok(GREY)), &["/dev/video7 is no camera"]);
        fails(camera(Some(vec![offer(b"H265", &[[160, 120]])]), Ok(GREY)), &["/dev/video7", "gives H265 only"]);
        let grey = || Some(vec![offer(b"GREY", &[[160, 120]])]);
        fails(camera(grey(), Err(ENODEV)), &["no camera at /dev/video7"]);
        fails(
            camera(grey(), Ok(Mode { code: *b"H264", ..GREY })),
            &["set to 160x120 in GREY and made 2x1 in H264 of it"],
        );
    }

    #[test]
    fn a_file_that_is_none_is_no_camera() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("video0");
        fails(Webcam::open(&file, [160, 120]), &["video0"]);
        std::fs::write(&file, "no camera").unwrap();
        fails(Webcam::open(&file, [160, 120]), &["video0"]);
    }
}
