//! Whether pictures look like those that a network was trained on: their brightness, contrast and colours, each as one
//! number an image.

use serde::Serialize;

/// Deviations from which a difference is worth a warning: of normally distributed images one in six lies that far out, and
/// here all of them do on average.
const NOTABLE: f64 = 1.0;

/// What is measured of an image, in levels of 255.
const MEASURES: [&str; 5] = ["brightness", "contrast", "saturation", "red against green", "blue against green"];

/// How one measure of some pictures differs from that of others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shift {
    /// What is measured.
    pub measure: &'static str,
    /// Its mean over the images that are compared with, in levels.
    pub expected: f64,
    /// Its standard deviation among those.
    pub deviation: f64,
    /// Its mean over the pictures.
    pub found: f64,
    /// The difference of the means in such deviations.
    pub deviations: f64,
}

impl Shift {
    /// Whether a network is likely to mind.
    pub fn is_notable(&self) -> bool {
        self.deviations.abs() >= NOTABLE
    }
}

impl std::fmt::Display for Shift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { measure, expected, found, deviations, .. } = self;
        let direction = if *deviations < 0.0 { "below" } else { "above" };
        write!(f, "{measure}: {found:.0} levels, {:.1} deviations {direction} {expected:.0}", deviations.abs())
    }
}

/// The measures of an image, `(h, w, 3)`.
///
/// Brightness is the mean luma (ITU-R BT.601), contrast its standard deviation, saturation the mean of the largest
/// channel's lead over the smallest; a colour cast is a channel's mean less that of green.
pub fn measure(image: &[u8]) -> [f64; MEASURES.len()] {
    let pixels = image.as_chunks::<3>().0;
    let count = pixels.len().max(1) as f64;
    let mut sums = [0.0; 3];
    let (mut luma, mut square, mut lead) = (0.0, 0.0, 0.0);
    for &[r, g, b] in pixels {
        let [red, green, blue] = [r, g, b].map(f64::from);
        let grey = 0.299 * red + 0.587 * green + 0.114 * blue;
        luma += grey;
        square += grey * grey;
        lead += f64::from(r.max(g).max(b) - r.min(g).min(b));
        sums = [sums[0] + red, sums[1] + green, sums[2] + blue];
    }
    let mean = luma / count;
    let contrast = (square / count - mean * mean).max(0.0).sqrt();
    [mean, contrast, lead / count, (sums[0] - sums[1]) / count, (sums[2] - sums[1]) / count]
}

/// How pictures of these measures differ from images of those `expected`; nothing where there are none of either.
pub fn compare(expected: &[[f64; MEASURES.len()]], found: &[[f64; MEASURES.len()]]) -> Vec<Shift> {
    if expected.is_empty() || found.is_empty() {
        return Vec::new();
    }
    let mean = |of: &[[f64; MEASURES.len()]], i: usize| of.iter().map(|m| m[i]).sum::<f64>() / of.len() as f64;
    let shift = |(i, measure): (usize, &&'static str)| {
        let (here, there) = (mean(expected, i), mean(found, i));
        let variance = expected.iter().map(|m| (m[i] - here).powi(2)).sum::<f64>() / expected.len() as f64;
        // Images that are all alike still differ by a level.
        let deviation = variance.sqrt().max(1.0);
        Shift { measure, expected: here, deviation, found: there, deviations: (there - here) / deviation }
    };
    MEASURES.iter().enumerate().map(shift).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_measure_is_what_its_name_says() {
        assert_eq!(measure(&[100; 12]), [100.0, 0.0, 0.0, 0.0, 0.0]);
        let [brightness, contrast, saturation, red, blue] = measure(&[255, 0, 0, 0, 0, 255]);
        assert!((brightness - 255.0 * (0.299 + 0.114) / 2.0).abs() < 1e-9);
        assert!((contrast - 255.0 * (0.299 - 0.114) / 2.0).abs() < 1e-9);
        assert_eq!((saturation, red, blue), (255.0, 127.5, 127.5));
    }

    #[test]
    fn a_darker_set_is_told_by_how_many_deviations() {
        let grey = |level: u8| measure(&[level; 48]);
        let bright: Vec<_> = (0..11).map(|i| grey(150 + 10 * (i % 3))).collect();
        let alike = compare(&bright, &[grey(158), grey(162)]);
        assert!(alike.iter().all(|shift| !shift.is_notable()), "{alike:?}");
        let dark = compare(&bright, &[grey(79), grey(81)]);
        let notable: Vec<&Shift> = dark.iter().filter(|shift| shift.is_notable()).collect();
        assert_eq!(notable.len(), 1);
        // The means are 159.1 and 80, the deviation 8.
        assert!((-10.0..-9.9).contains(&notable[0].deviations), "{notable:?}");
        assert_eq!(notable[0].to_string(), "brightness: 80 levels, 10.0 deviations below 159");
        assert!(compare(&[], &bright).is_empty() && compare(&bright, &[]).is_empty());
    }
}
