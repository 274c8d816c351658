//! What the camera of the emulated board looks at: pictures, or what is in front of this machine's own camera.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::camera::Sensor;
use crate::camera::webcam::Webcam;
use crate::commands::Failure;
use crate::data::picture::{self, Picture};
use crate::view;

/// Where cameras are, and how their names begin.
const CAMERAS: &str = "/dev/video";

/// Something to look at.
pub enum PictureSource {
    /// Pictures, one after the other, and which comes next.
    Pictures(Vec<PathBuf>, usize),
    /// What a camera sees.
    Webcam(Box<Webcam>),
}

impl PictureSource {
    /// What is at `path`: a camera, a picture, or a folder of them. A camera gives at least as much as `sensor` shows.
    ///
    /// # Errors
    /// No path, nothing there, or a camera that cannot be used.
    pub fn open(path: Option<&Path>, sensor: Sensor) -> Result<Self> {
        let path = path.ok_or_else(|| {
            Failure::Usage(
                "what does the emulated board's camera look at? give a picture, a folder, or a camera of this machine \
                 such as /dev/video0 with --source"
                    .to_owned(),
            )
        })?;
        match is_camera(path) {
            true => {
                let wanted = [sensor.width, sensor.height].map(u32::from);
                let webcam = Webcam::open(path, wanted)?;
                view::note(&format!("the emulated board looks through {}: {}", path.display(), webcam.mode()));
                Ok(Self::Webcam(Box::new(webcam)))
            }
            false => Ok(Self::Pictures(pictures(path)?, 0)),
        }
    }

    /// What it shows next; after the last picture comes the first one. Nothing where a signal came between.
    ///
    /// # Errors
    /// A picture that cannot be read, or a camera that is gone.
    pub fn next_picture(&mut self) -> Result<Option<Picture>> {
        match self {
            Self::Webcam(webcam) => webcam.look(),
            Self::Pictures(paths, next) => {
                let path = &paths[*next % paths.len()];
                *next += 1;
                Picture::open(path).with_context(|| path.display().to_string()).map(Some)
            }
        }
    }
}

/// Whether `path` is that of a camera, there or not. A link to one, as below `/dev/v4l`, counts.
fn is_camera(path: &Path) -> bool {
    let real = path.canonicalize();
    real.as_deref().unwrap_or(path).to_str().is_some_and(|path| path.starts_with(CAMERAS))
}

/// The picture at `source`, or every picture in the folder and those below it, in the order of their names.
///
/// # Errors
/// There is none.
pub fn pictures(source: &Path) -> Result<Vec<PathBuf>> {
    if source.is_file() {
        return Ok(vec![source.to_owned()]);
    }
    let mut folders = vec![source.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if picture::has_picture_name(&path) {
                found.push(path);
            }
        }
    }
    ensure!(!found.is_empty(), "{} holds no JPEG or PNG files", source.display());
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_found_in_folders_below_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        for name in ["c.png", "a.jpg", "b/x.jpeg", "notes.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<PathBuf> = ["a.jpg", "b/x.jpeg", "c.png"].iter().map(|name| folder.path().join(name)).collect();
        assert_eq!(pictures(folder.path()).unwrap(), names);
        assert_eq!(pictures(&names[0]).unwrap(), names[..1]);
        std::fs::remove_file(&names[1]).unwrap();
        let empty = pictures(&folder.path().join("b")).unwrap_err().to_string();
        assert!(empty.contains("holds no JPEG or PNG files"), "{empty}");
        assert!(pictures(&folder.path().join("gone")).is_err());
    }

    #[test]
    fn pictures_come_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        for (name, level) in [("a.png", 10), ("b.png", 20)] {
            let picture = Picture { width: 1, height: 1, pixels: vec![level; 3] };
            std::fs::write(folder.path().join(name), picture.to_png().unwrap()).unwrap();
        }
        let mut source = PictureSource::open(Some(folder.path()), Sensor::default()).unwrap();
        let levels: Vec<u8> = (0..5).map(|_| source.next_picture().unwrap().unwrap().pixels[0]).collect();
        assert_eq!(levels, [10, 20, 10, 20, 10]);
        std::fs::write(folder.path().join("b.png"), "damaged").unwrap();
        let error = format!("{:#}", source.next_picture().unwrap_err());
        assert!(error.contains("b.png"), "{error}");
    }

    #[test]
    fn cameras_are_told_from_pictures_by_where_they_are() {
        assert!(is_camera(Path::new("/dev/video63")));
        for other in ["/dev/null", "photos", "dev/video0", "photos/dev/video0.png"] {
            assert!(!is_camera(Path::new(other)), "{other}");
        }
        let error =
            PictureSource::open(Some(Path::new("/dev/video63")), Sensor::default()).err().expect("there is none");
        let error = format!("{error:#}");
        assert!(
            error.contains("/dev/video63") && (error.contains("no camera at") || error.contains("Linux")),
            "{error}"
        );
        assert!(PictureSource::open(None, Sensor::default()).err().unwrap().to_string().contains("/dev/video0"));
    }
}
