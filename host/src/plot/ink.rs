//! The colours of drawings, each for a light and a dark ground.

/// Steps of a colour ramp.
const STEPS: u8 = 24;
/// The last of them that dark texts are read on best, on a light ground.
const DARK: u8 = 14;
/// Colours that tell series apart, on a light and on a dark ground.
const SERIES: [([u8; 3], [u8; 3]); 8] = [
    ([0x25, 0x63, 0xeb], [0x60, 0xa5, 0xfa]),
    ([0xc2, 0x5e, 0x05], [0xfb, 0xb0, 0x40]),
    ([0x05, 0x80, 0x5c], [0x34, 0xd3, 0x99]),
    ([0xc0, 0x26, 0x7a], [0xf4, 0x72, 0xb6]),
    ([0x7c, 0x3a, 0xed], [0xb3, 0x9a, 0xfc]),
    ([0x0e, 0x7c, 0x95], [0x22, 0xd3, 0xee]),
    ([0xdc, 0x26, 0x26], [0xf8, 0x71, 0x71]),
    ([0x5a, 0x7d, 0x0c], [0xa3, 0xe6, 0x35]),
];
/// The grounds.
const GROUND: ([u8; 3], [u8; 3]) = ([0xff, 0xff, 0xff], [0x0d, 0x11, 0x17]);
/// The far ends of the ramps.
const GOOD: ([u8; 3], [u8; 3]) = ([0x0a, 0x47, 0xa1], [0x6c, 0xb6, 0xff]);
const BAD: ([u8; 3], [u8; 3]) = ([0xb3, 0x2d, 0x0f], [0xff, 0x9b, 0x73]);

/// A colour by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ink {
    /// The ground.
    Ground,
    /// Texts.
    Text,
    /// Texts that matter less.
    Muted,
    /// Lines of a grid.
    Grid,
    /// Texts on the dark half of a ramp.
    OnRamp,
    /// A series by its number; they repeat.
    Series(u8),
    /// A step from the ground to what is right, or more. See [`Ink::good`].
    Good(u8),
    /// A step from the ground to what is wrong, or less. See [`Ink::bad`].
    Bad(u8),
}

impl Ink {
    /// The colour of the series with this number.
    pub fn series(number: usize) -> Self {
        Self::Series((number % SERIES.len()) as u8)
    }

    /// A part of 1 of what is right, from the ground (0) on.
    pub fn good(part: f64) -> Self {
        Self::Good(step(part))
    }

    /// A part of 1 of what is wrong.
    pub fn bad(part: f64) -> Self {
        Self::Bad(step(part))
    }

    /// What is read best on it.
    pub fn text_on(self) -> Self {
        match self {
            Self::Good(step) | Self::Bad(step) if step > DARK => Self::OnRamp,
            _ => Self::Text,
        }
    }

    /// Red, green and blue on a light ground.
    pub fn light(self) -> [u8; 3] {
        self.both().0
    }

    /// The same on a dark one.
    pub fn dark(self) -> [u8; 3] {
        self.both().1
    }

    fn both(self) -> ([u8; 3], [u8; 3]) {
        match self {
            Self::Ground => GROUND,
            Self::Text => ([0x1f, 0x23, 0x28], [0xe6, 0xed, 0xf3]),
            Self::Muted => ([0x59, 0x63, 0x6e], [0x9d, 0xa5, 0xae]),
            Self::Grid => ([0xdd, 0xe1, 0xe6], [0x30, 0x36, 0x3d]),
            Self::OnRamp => ([0xfe, 0xfe, 0xfe], [0x08, 0x0c, 0x12]),
            Self::Series(number) => SERIES[usize::from(number) % SERIES.len()],
            Self::Good(step) => mixed(GOOD, step),
            Self::Bad(step) => mixed(BAD, step),
        }
    }
}

/// The step of a ramp for a part of 1; what is no number is nothing.
fn step(part: f64) -> u8 {
    (part.clamp(0.0, 1.0) * f64::from(STEPS)).round() as u8
}

fn mixed(end: ([u8; 3], [u8; 3]), step: u8) -> ([u8; 3], [u8; 3]) {
    // The first step is one that can be told from the ground.
    let part = if step == 0 { 0.0 } else { 0.06 + 0.94 * f64::from(step.min(STEPS)) / f64::from(STEPS) };
    let mix = |ground: [u8; 3], end: [u8; 3]| {
        let channel = |c: usize| f64::from(ground[c]) + part * (f64::from(end[c]) - f64::from(ground[c]));
        [0, 1, 2].map(|c| channel(c).round() as u8)
    };
    (mix(GROUND.0, end.0), mix(GROUND.1, end.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn light_colours_name_their_ink() {
        // An SVG file finds the dark colour by the light one.
        let mut inks = vec![Ink::Ground, Ink::Text, Ink::Muted, Ink::Grid, Ink::OnRamp];
        inks.extend((0..SERIES.len()).map(Ink::series));
        inks.extend((1..=STEPS).flat_map(|step| [Ink::Good(step), Ink::Bad(step)]));
        let light: std::collections::BTreeSet<_> = inks.iter().map(|ink| ink.light()).collect();
        assert_eq!(light.len(), inks.len());
        assert_eq!(Ink::good(0.0).light(), Ink::Ground.light());
    }

    /// Relative luminance (WCAG 2.2).
    fn luminance(colour: [u8; 3]) -> f64 {
        let linear = |c: u8| {
            let c = f64::from(c) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(colour[0]) + 0.7152 * linear(colour[1]) + 0.0722 * linear(colour[2])
    }

    fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
        let (a, b) = (luminance(one) + 0.05, luminance(other) + 0.05);
        a.max(b) / a.min(b)
    }

    #[test]
    fn texts_and_series_can_be_read_on_both_grounds() {
        for ink in [Ink::Text, Ink::Muted] {
            assert!(contrast(ink.light(), GROUND.0) > 4.5 && contrast(ink.dark(), GROUND.1) > 4.5, "{ink:?}");
        }
        for ink in (0..SERIES.len()).map(Ink::series) {
            assert!(contrast(ink.light(), GROUND.0) > 3.0 && contrast(ink.dark(), GROUND.1) > 3.0, "{ink:?}");
        }
        for ground in (0..=STEPS).flat_map(|step| [Ink::Good(step), Ink::Bad(step)]) {
            let text = ground.text_on();
            let (light, dark) = (contrast(text.light(), ground.light()), contrast(text.dark(), ground.dark()));
            assert!(light > 3.0 && dark > 3.0, "{text:?} on {ground:?}: {light} and {dark}");
        }
    }

    #[test]
    fn what_is_no_number_has_the_colour_of_nothing() {
        assert_eq!([f64::NAN, -1.0, 0.0].map(Ink::good), [Ink::Good(0); 3]);
        assert_eq!(Ink::bad(f64::INFINITY), Ink::Bad(STEPS));
    }
}
