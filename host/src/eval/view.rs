//! How a model takes its images: two models of the same classes may want other sizes, or other parts of a picture.

use crate::data::Split;
use crate::data::picture::Picture;
use crate::recipe::{DataRecipe, Fit};
use anyhow::{Result, ensure};
use ocellus_shared::Shape;

/// What a picture goes through on its way to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Height and width of the image.
    pub side: u16,
    /// How the picture becomes one.
    pub fit: Fit,
}

impl View {
    /// That of a model which takes images of the shape `input` and was trained by `recipe`.
    ///
    /// # Errors
    /// It does not take square colour images.
    pub fn of(recipe: &DataRecipe, input: Shape) -> Result<Self> {
        ensure!(
            input.h == input.w && input.c == 3,
            "the model takes images of {input}; datasets hold square colour images"
        );
        Ok(Self { side: input.h, fit: recipe.fit() })
    }

    /// Shape of the images.
    pub fn shape(&self) -> Shape {
        Shape::new(self.side, self.side, 3)
    }

    /// `recipe` for a dataset whose images are so.
    pub fn of_dataset(&self, recipe: &DataRecipe) -> DataRecipe {
        DataRecipe { img_size: Some(self.side), crop: self.fit.crop, enlarge: Some(self.fit.enlarge), ..recipe.clone() }
    }

    /// `picture` as the only image, of class 0.
    pub fn split(&self, picture: &Picture) -> Split {
        let side = usize::from(self.side);
        let mut images = vec![0; side * side * 3];
        picture.square(self.side, self.fit, &mut images);
        Split { images, labels: vec![0], height: side, width: side }
    }
}
