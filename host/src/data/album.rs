//! A class folder that fills with pictures, no two of them alike.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ocellus_shared::Shape;
use ocellus_shared::frame::{Frame, PixelFormat};
use ocellus_shared::plan::Crop;
use ocellus_shared::preprocess::preprocess;

use super::picture::{self, Picture};
use crate::files::Numbered;

/// Height and width of the thumbnails that are compared: small enough for noise to vanish in their means.
const SIDE: u16 = 16;

/// A picture of grey means, `(SIDE, SIDE)`.
type Thumbnail = Vec<f32>;

/// What became of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in this file.
    Kept(PathBuf),
    /// There is one like it.
    NearDuplicate,
}

/// Makes sure that `label` can be the name of a folder.
///
/// # Errors
/// It cannot, or leads to another folder.
pub fn check_label(label: &str) -> Result<()> {
    let plain = !label.is_empty() && !label.starts_with('.') && !label.contains(['/', '\\', '\0']);
    ensure!(plain, "{label:?} is no name for a folder: leave out slashes and a leading dot");
    Ok(())
}

/// A class folder.
#[derive(Debug)]
pub struct Album {
    folder: Numbered,
    /// Mean difference below which two pictures are alike, in levels.
    difference: f32,
    /// Of the pictures that were there before, and behind them of those that were added.
    known: Vec<Thumbnail>,
    added: Vec<PathBuf>,
    skipped: u32,
}

impl Album {
    /// The folder `label` in `photos`, which is made where there is none. What is in it already is compared with, and stays.
    ///
    /// # Errors
    /// The label is no name of a folder, or the folder cannot be made or read.
    pub fn open(photos: &Path, label: &str, difference: f32) -> Result<Self> {
        check_label(label)?;
        let folder = Numbered::open(&photos.join(label))?;
        let path = folder.path();
        let entries = fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
        // A file that is no picture is for `data check` to complain about.
        let known = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| picture::has_picture_name(path))
            .filter_map(|path| Picture::open(&path).ok())
            .map(|picture| thumbnail(&picture))
            .collect::<Result<_>>()?;
        Ok(Self { folder, difference, known, added: Vec::new(), skipped: 0 })
    }

    /// Where the pictures are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Pictures that were added.
    pub fn taken(&self) -> u32 {
        self.added.len() as u32
    }

    /// Pictures that were left out, as there was one like them.
    pub fn skipped(&self) -> u32 {
        self.skipped
    }

    /// Adds a picture unless there is one like it.
    ///
    /// Two pictures are compared as video coders compare blocks, by their mean absolute difference (Iain Richardson,
    /// *The H.264 Advanced Video Compression Standard*, 2010, 3.3.2), here of thumbnails of 16x16 grey means, so that a
    /// sensor's noise counts for little.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn offer(&mut self, picture: &Picture) -> Result<Verdict> {
        let new = thumbnail(picture)?;
        if self.known.iter().any(|known| difference(known, &new) < self.difference) {
            self.skipped += 1;
            return Ok(Verdict::NearDuplicate);
        }
        let path = self.folder.save(&picture.to_png()?)?;
        self.known.push(new);
        self.added.push(path.clone());
        Ok(Verdict::Kept(path))
    }

    /// Removes the picture that was added last; whether there was one.
    ///
    /// # Errors
    /// Its file cannot be removed.
    pub fn take_back(&mut self) -> Result<bool> {
        let Some(path) = self.added.last() else { return Ok(false) };
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
        self.added.pop();
        self.known.pop();
        Ok(true)
    }
}

/// Grey means of the whole picture, stretched to a square.
fn thumbnail(picture: &Picture) -> Result<Thumbnail> {
    let frame = Frame::new(PixelFormat::Rgb888, picture.width, picture.height, &picture.pixels)?;
    let shape = Shape::new(SIDE, SIDE, 3);
    let mut levels = vec![0i8; shape.len()];
    preprocess(&frame, Crop::Stretch, shape, &mut levels)?;
    // Brightness by BT.601.
    let grey = |p: &[i8; 3]| 0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2]);
    Ok(levels.as_chunks().0.iter().map(grey).collect())
}

/// Mean absolute difference, in levels.
fn difference(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(a, b)| (a - b).abs()).sum::<f32>() / one.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A square of `side` pixels at `x` on dark ground, with `noise` levels of noise.
    fn scene(x: usize, noise: u8) -> Picture {
        let mut random = 7u32;
        let mut pixel = |column: usize, row: usize| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let level = if (x..x + 30).contains(&column) && (30..60).contains(&row) { 200 } else { 40 };
            [level + (random >> 24) as u8 % (noise + 1); 3]
        };
        let pixels = (0..90).flat_map(|row| (0..120).map(move |column| (column, row))).flat_map(|(c, r)| pixel(c, r));
        Picture { width: 120, height: 90, pixels: pixels.collect() }
    }

    #[test]
    fn what_moved_is_kept_and_noise_is_not() {
        let photos = tempfile::tempdir().unwrap();
        let mut album = Album::open(photos.path(), "cup", 4.0).unwrap();
        assert!(matches!(album.offer(&scene(10, 0)).unwrap(), Verdict::Kept(path) if path.ends_with("cup/0001.png")));
        for again in [scene(10, 0), scene(10, 6), scene(11, 0)] {
            assert_eq!(album.offer(&again).unwrap(), Verdict::NearDuplicate);
        }
        assert!(matches!(album.offer(&scene(50, 0)).unwrap(), Verdict::Kept(path) if path.ends_with("cup/0002.png")));
        // Back where it was: also known.
        assert_eq!(album.offer(&scene(10, 3)).unwrap(), Verdict::NearDuplicate);
        assert_eq!((album.taken(), album.skipped()), (2, 4));
        assert_eq!(Picture::open(&photos.path().join("cup/0002.png")).unwrap(), scene(50, 0));
    }

    #[test]
    fn nothing_is_overwritten_and_what_is_there_is_known() {
        let photos = tempfile::tempdir().unwrap();
        fs::create_dir(photos.path().join("cup")).unwrap();
        let first = photos.path().join("cup/0001.png");
        fs::write(&first, scene(10, 0).to_png().unwrap()).unwrap();
        fs::write(photos.path().join("cup/0002.png"), "no picture").unwrap();
        let mut album = Album::open(photos.path(), "cup", 4.0).unwrap();
        assert_eq!(album.offer(&scene(10, 0)).unwrap(), Verdict::NearDuplicate);
        assert!(matches!(album.offer(&scene(50, 0)).unwrap(), Verdict::Kept(path) if path.ends_with("cup/0003.png")));
        assert_eq!(fs::read(photos.path().join("cup/0002.png")).unwrap(), b"no picture");
        assert_eq!(fs::read_dir(photos.path().join("cup")).unwrap().count(), 3, "nothing else is left there");
    }

    #[test]
    fn labels_stay_in_their_folder() {
        let photos = tempfile::tempdir().unwrap();
        for label in ["", "..", ".hidden", "a/b", "a\\b"] {
            assert!(Album::open(photos.path(), label, 4.0).is_err(), "{label:?}");
        }
        assert!(Album::open(photos.path(), "sea lion", 4.0).is_ok());
    }

    #[test]
    fn what_was_added_can_be_taken_back_and_what_was_there_cannot() {
        let photos = tempfile::tempdir().unwrap();
        let offer = |album: &mut Album, x| album.offer(&scene(x, 0)).unwrap();
        let mut before = Album::open(photos.path(), "cup", 4.0).unwrap();
        offer(&mut before, 0);
        let mut album = Album::open(photos.path(), "cup", 4.0).unwrap();
        let Verdict::Kept(path) = offer(&mut album, 50) else { panic!("it is another one") };
        assert!(album.take_back().unwrap() && !path.exists() && album.taken() == 0);
        assert!(!album.take_back().unwrap(), "the first one was there before");
        assert!(matches!(offer(&mut album, 50), Verdict::Kept(_)), "it is forgotten");
        assert_eq!(offer(&mut album, 0), Verdict::NearDuplicate);
    }
}
