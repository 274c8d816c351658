//! `[augment]` of a recipe.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// How training images are varied, anew in every epoch.
///
/// Every transformation has a strength, where 0 (for `crop` 1) switches it off, and a probability with which an image
/// undergoes it. Strengths mean what they mean in torchvision and albumentations unless said otherwise. `U(a, b)` is a
/// number drawn evenly between `a` and `b`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AugmentRecipe {
    /// Probability of mirroring left and right.
    pub flip: f64,
    /// Most pixels of a random shift along each axis; the border is reflected.
    pub shift: u16,
    /// Side in pixels of a square that is painted grey.
    pub cutout: u16,
    /// Probability of that square.
    pub cutout_probability: f64,
    /// Most degrees of a rotation about the centre, either way: `U(-rotate, rotate)`; 0 to 180.
    pub rotate: f64,
    /// Probability of the rotation.
    pub rotate_probability: f64,
    /// Zoom about the centre by a factor `U(1 - zoom, 1 + zoom)`; 0 to 0.9.
    pub zoom: f64,
    /// Probability of the zoom.
    pub zoom_probability: f64,
    /// Least part of the area that a random resized crop keeps (Szegedy et al. 2015 take 0.08): the part is
    /// `U(crop, 1)`, the aspect ratio between 3:4 and 4:3; above 0, 1 for no crop.
    pub crop: f64,
    /// Probability of the crop.
    pub crop_probability: f64,
    /// Grid distortion: each of five columns and five rows grows by a factor `U(1 - grid, 1 + grid)`; 0 to 0.9.
    pub grid: f64,
    /// Probability of the grid distortion.
    pub grid_probability: f64,
    /// Elastic transform: standard deviation in pixels of a smooth random displacement (Simard et al. 2003); up to 64.
    pub elastic: f64,
    /// Standard deviation in pixels of the Gaussian that smooths that displacement; 0.5 to 32.
    pub elastic_smoothness: f64,
    /// Probability of the elastic transform.
    pub elastic_probability: f64,
    /// Brightness: all values are multiplied by `U(1 - brightness, 1 + brightness)`; 0 to 1.
    pub brightness: f64,
    /// Probability of another brightness.
    pub brightness_probability: f64,
    /// Contrast: distances from the image's mean grey are multiplied by `U(1 - contrast, 1 + contrast)`; 0 to 1.
    pub contrast: f64,
    /// Probability of another contrast.
    pub contrast_probability: f64,
    /// Saturation: distances from each pixel's grey are multiplied by `U(1 - saturation, 1 + saturation)`; 0 to 1.
    pub saturation: f64,
    /// Probability of another saturation.
    pub saturation_probability: f64,
    /// Hue: colours are turned by `U(-hue, hue)` of the colour circle at equal luma; 0 to 0.5.
    pub hue: f64,
    /// Probability of another hue.
    pub hue_probability: f64,
    /// Gamma: values are raised to the power `(1 + gamma)^U(-1, 1)`, as often darker as brighter; 0 to 4.
    pub gamma: f64,
    /// Probability of another gamma.
    pub gamma_probability: f64,
    /// Probability of red, green and blue changing places.
    pub channel_shuffle: f64,
    /// Probability of the way through a small camera: blur with a standard deviation `U(0, 0.8)` pixels, exposure off by
    /// `U(-0.5, 0.5)` stops, red and blue each by `U(-0.2, 0.2)` more, noise with a standard deviation of `U(0, 5)` levels
    /// of 255, and RGB565 or YUV 4:2:2 pixels with even chances, by the conversions that a board uses.
    pub camera: f64,
    /// Mixup (Zhang et al. 2018): an image keeps the part `Beta(mixup, mixup)` and another one of its batch shows
    /// through with the rest; up to 10.
    pub mixup: f64,
    /// Probability of mixup.
    pub mixup_probability: f64,
    /// Cutmix (Yun et al. 2019): a rectangle of the area `1 - Beta(cutmix, cutmix)` shows another image of the batch; up
    /// to 10. Where an image could undergo several of mixup, cutmix and RICAP, it undergoes one of them, with even chances.
    pub cutmix: f64,
    /// Probability of cutmix.
    pub cutmix_probability: f64,
    /// RICAP (Takahashi et al. 2018): a random crop of the image and of three others of its batch meet in a point, whose distances
    /// from two sides are `Beta(ricap, ricap)` of them; up to 10.
    pub ricap: f64,
    /// Probability of RICAP.
    pub ricap_probability: f64,
}

impl Default for AugmentRecipe {
    fn default() -> Self {
        Self { flip: 0.5, shift: 4, cutout: 8, ..Self::none() }
    }
}

impl AugmentRecipe {
    /// Nothing is varied; the probabilities are those that a strength alone would have.
    pub fn none() -> Self {
        Self {
            flip: 0.0,
            shift: 0,
            cutout: 0,
            cutout_probability: 0.5,
            rotate: 0.0,
            rotate_probability: 0.5,
            zoom: 0.0,
            zoom_probability: 0.5,
            crop: 1.0,
            crop_probability: 0.5,
            grid: 0.0,
            grid_probability: 0.5,
            elastic: 0.0,
            elastic_smoothness: 4.0,
            elastic_probability: 0.5,
            brightness: 0.0,
            brightness_probability: 0.5,
            contrast: 0.0,
            contrast_probability: 0.5,
            saturation: 0.0,
            saturation_probability: 0.5,
            hue: 0.0,
            hue_probability: 0.5,
            gamma: 0.0,
            gamma_probability: 0.5,
            channel_shuffle: 0.0,
            camera: 0.0,
            mixup: 0.0,
            mixup_probability: 1.0,
            cutmix: 0.0,
            cutmix_probability: 1.0,
            ricap: 0.0,
            ricap_probability: 1.0,
        }
    }

    /// Whether images stay as they are, so that one looks the same in every epoch.
    pub fn leaves_images(&self) -> bool {
        let strengths = [self.rotate, self.zoom, self.grid, self.elastic, self.brightness, self.contrast];
        let more = [
            self.saturation,
            self.hue,
            self.gamma,
            self.channel_shuffle,
            self.mixup,
            self.cutmix,
            self.ricap,
            self.flip,
            self.camera,
        ];
        let pixels = [self.shift, self.cutout];
        strengths.iter().chain(&more).all(|&s| s == 0.0) && pixels.iter().all(|&p| p == 0) && self.crop == 1.0
    }

    /// Whether an image may show others of its batch.
    pub fn mixes(&self) -> bool {
        [self.mixup, self.cutmix, self.ricap].iter().any(|&alpha| alpha > 0.0)
    }

    /// The same without what joins images of a batch, which no image alone undergoes.
    pub fn without_mixing(&self) -> Self {
        let Self { mixup, mixup_probability, cutmix, cutmix_probability, ricap, ricap_probability, .. } = Self::none();
        Self { mixup, mixup_probability, cutmix, cutmix_probability, ricap, ricap_probability, ..self.clone() }
    }

    pub(super) fn validate(&self) -> Result<()> {
        for (key, p) in self.probabilities() {
            ensure!((0.0..=1.0).contains(&p), "augment.{key} = {p} is not a probability: choose one from 0 to 1");
        }
        for (key, value, least, most) in self.strengths() {
            ensure!((least..=most).contains(&value), "augment.{key} = {value} must lie between {least} and {most}");
        }
        Ok(())
    }

    fn probabilities(&self) -> [(&'static str, f64); 17] {
        [
            ("flip", self.flip),
            ("cutout-probability", self.cutout_probability),
            ("rotate-probability", self.rotate_probability),
            ("zoom-probability", self.zoom_probability),
            ("crop-probability", self.crop_probability),
            ("grid-probability", self.grid_probability),
            ("elastic-probability", self.elastic_probability),
            ("brightness-probability", self.brightness_probability),
            ("contrast-probability", self.contrast_probability),
            ("saturation-probability", self.saturation_probability),
            ("hue-probability", self.hue_probability),
            ("gamma-probability", self.gamma_probability),
            ("channel-shuffle", self.channel_shuffle),
            ("camera", self.camera),
            ("mixup-probability", self.mixup_probability),
            ("cutmix-probability", self.cutmix_probability),
            ("ricap-probability", self.ricap_probability),
        ]
    }

    /// Key, value, and the smallest and largest that it may have.
    fn strengths(&self) -> [(&'static str, f64, f64, f64); 14] {
        [
            ("rotate", self.rotate, 0.0, 180.0),
            ("zoom", self.zoom, 0.0, 0.9),
            // A crop of less than a hundredth shows a tenth of each side: no object is told from that.
            ("crop", self.crop, 0.01, 1.0),
            ("grid", self.grid, 0.0, 0.9),
            ("elastic", self.elastic, 0.0, 64.0),
            ("elastic-smoothness", self.elastic_smoothness, 0.5, 32.0),
            ("brightness", self.brightness, 0.0, 1.0),
            ("contrast", self.contrast, 0.0, 1.0),
            ("saturation", self.saturation, 0.0, 1.0),
            ("hue", self.hue, 0.0, 0.5),
            ("gamma", self.gamma, 0.0, 4.0),
            ("mixup", self.mixup, 0.0, 10.0),
            ("cutmix", self.cutmix, 0.0, 10.0),
            ("ricap", self.ricap, 0.0, 10.0),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_validated() {
        let table = toml::Table::try_from(AugmentRecipe::default()).unwrap();
        for key in table.keys().filter(|key| !["shift", "cutout"].contains(&key.as_str())) {
            for bad in [-0.1, f64::NAN, 1e9] {
                let mut table = table.clone();
                table.insert(key.clone(), bad.into());
                let error = table.try_into::<AugmentRecipe>().unwrap().validate().unwrap_err().to_string();
                assert!(error.contains(&format!("augment.{key} = ")), "{key} = {bad}: {error}");
            }
        }
    }

    #[test]
    fn a_recipe_of_three_keys_means_what_it_meant_before_there_were_more() {
        let recipe: AugmentRecipe = toml::from_str("flip = 0.5\nshift = 4\ncutout = 0").unwrap();
        assert_eq!(recipe, AugmentRecipe { flip: 0.5, shift: 4, ..AugmentRecipe::none() });
    }
}
