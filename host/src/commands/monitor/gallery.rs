//! What becomes of the frames themselves: drawn in the terminal, saved, or neither.

use anyhow::Result;
use ocellus_shared::frame::{Frame, PixelFormat};

use super::live::Live;
use crate::camera;
use crate::cli::MonitorArgs;
use crate::data::picture::Picture;
use crate::files::Numbered;
use crate::view;

/// Columns of a drawn frame, in characters.
const COLUMNS: u16 = 64;

/// Draws and saves frames.
#[derive(Default)]
pub struct Gallery {
    draws: bool,
    folder: Option<Numbered>,
}

impl Gallery {
    /// As the arguments say.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(args: &MonitorArgs) -> Result<Self> {
        Ok(Self { draws: args.picture, folder: args.save.as_deref().map(Numbered::open).transpose()? })
    }

    /// Whether it wants frames at all.
    pub fn wants_frames(&self) -> bool {
        self.draws || self.folder.is_some()
    }

    /// Takes a frame, which is shown with what `live` shows next.
    ///
    /// # Errors
    /// It cannot be saved.
    pub fn add(&mut self, frame: &Frame, live: &mut Live) -> Result<()> {
        if !self.wants_frames() {
            return Ok(());
        }
        let picture = camera::rgb(frame)?;
        if self.draws {
            let (pixels, width) = small(&picture)?;
            live.set_picture(view::half_blocks(&pixels, width));
        }
        if let Some(folder) = &mut self.folder {
            folder.save(&picture.to_png()?)?;
        }
        Ok(())
    }
}

/// The picture at a size that a terminal has room for, and its columns.
fn small(picture: &Picture) -> Result<(Vec<u8>, usize)> {
    let width = picture.width.min(COLUMNS);
    let height = u32::from(picture.height) * u32::from(width) / u32::from(picture.width);
    let height = height.clamp(1, u32::from(COLUMNS)) as u16;
    let frame = Frame::new(PixelFormat::Rgb888, picture.width, picture.height, &picture.pixels)?;
    Ok((camera::stretched(&frame, width, height)?.pixels, width.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_drawn_as_wide_as_a_terminal_has_room() {
        let picture = Picture { width: 160, height: 120, pixels: [200, 100, 50].repeat(160 * 120) };
        let (pixels, width) = small(&picture).unwrap();
        assert_eq!((pixels.len(), width), (64 * 48 * 3, 64));
        let lines = view::half_blocks(&pixels, width);
        assert_eq!(lines.len(), 24);
        assert!(lines.iter().all(|line| line.matches("38;2;200;100;50m").count() == 64), "{}", lines[0]);
        let tall = Picture { width: 1, height: 1000, pixels: vec![9; 3000] };
        assert_eq!(small(&tall).unwrap().0.len(), 64 * 3);
    }
}
