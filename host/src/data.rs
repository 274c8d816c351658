//! Datasets: where images come from, and the splits that every later stage sees.

/// Images of one size and their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// RGB pixels, `(n, h, w, 3)`.
    pub images: Vec<u8>,
    /// Class of each image, below the number of classes.
    pub labels: Vec<u16>,
    /// Rows of each image.
    pub height: usize,
    /// Columns of each image.
    pub width: usize,
}

impl Split {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// RGB pixels of image `i`, `(h, w, 3)`.
    pub fn image(&self, i: usize) -> &[u8] {
        let bytes = self.height * self.width * 3;
        &self.images[i * bytes..(i + 1) * bytes]
    }
}

/// A dataset with its three disjoint splits.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What it is called in reports: `cifar10`, the folder's name, ...
    pub name: String,
    /// Class names in label order.
    pub classes: Vec<String>,
    /// For fitting weights.
    pub train: Split,
    /// For choosing between checkpoints, and for calibration together with `train`.
    pub val: Split,
    /// For the final figures only: neither training nor calibration sees it.
    pub test: Split,
    /// SHA-256 over all pixels and labels in hex, so that a model says what it was trained on.
    pub hash: String,
}
