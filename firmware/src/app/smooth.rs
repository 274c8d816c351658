//! A label that does not flicker: scores are averaged over time, and a label stays until another one clearly leads.
//!
//! The average is exponential, `average += (score - average) / 2^shift`, in 16.16 fixed point: no heap, no history, and an
//! error that cannot grow, since each step halves what it was off by.

use heapless::Vec;

/// Most classes that can be averaged.
pub const MAX_CLASSES: usize = 1024;

/// Bits after the point of an average.
const FRACTION: u32 = 16;
/// Largest useful `shift`: slower averages would not move for small differences.
const MAX_SHIFT: u8 = 8;

/// How labels are smoothed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Smoothing {
    /// A frame counts `1 / 2^shift`: 0 for no averaging, at most 8.
    pub shift: u8,
    /// Steps of int8 scores by which the average of a new label must lead.
    pub lead: u8,
    /// Frames in a row in which it must; at least 1.
    pub hold: u8,
}

impl Default for Smoothing {
    fn default() -> Self {
        Self::USUAL
    }
}

impl Smoothing {
    /// Every frame for itself.
    pub const NONE: Self = Self { shift: 0, lead: 0, hold: 1 };
    /// Half a second at 30 frames a second, and no change for less than what noise does.
    pub const USUAL: Self = Self { shift: 2, lead: 3, hold: 3 };

    /// The one that `text` says, shift, lead and hold with commas between; the usual one where there is no text.
    ///
    /// # Panics
    /// It says none. A program evaluates this while it is compiled, which then fails.
    pub const fn chosen(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::USUAL };
        let ([shift, lead, hold], 3) = numbers(text.as_bytes()) else { panic!("smoothing is SHIFT,LEAD,HOLD") };
        assert!(shift <= MAX_SHIFT as u16 && lead <= 255 && hold >= 1 && hold <= 255, "smoothing is 0-8,0-255,1-255");
        Self { shift: shift as u8, lead: lead as u8, hold: hold as u8 }
    }
}

/// The first three numbers in a list with commas, and how many it has; 0 where something else is in it.
const fn numbers(text: &[u8]) -> ([u16; 3], usize) {
    // Loops and indices, because iterators cannot run while a program is compiled.
    let (mut found, mut count, mut digits, mut at) = ([0; 3], 1, 0, 0);
    while at < text.len() {
        match text[at] {
            b',' if digits > 0 && count < 3 => (count, digits) = (count + 1, 0),
            digit @ b'0'..=b'9' if digits < 3 => {
                found[count - 1] = 10 * found[count - 1] + (digit - b'0') as u16;
                digits += 1;
            }
            _ => return (found, 0),
        }
        at += 1;
    }
    (found, if digits > 0 { count } else { 0 })
}

/// The network has more classes than [`MAX_CLASSES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyClasses(pub usize);

/// What recent frames show together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The label that stands, or while there is none yet, the class with the highest average.
    pub class: u16,
    /// Whether that label stands.
    pub settled: bool,
}

/// Averages of recent scores, and the label that stands.
#[derive(Clone, Debug)]
pub struct Smoother {
    averages: Vec<i32, MAX_CLASSES>,
    classes: usize,
    smoothing: Smoothing,
    standing: Option<u16>,
    challenger: u16,
    /// Frames in a row in which the challenger led by enough.
    lasted: u8,
}

impl Smoother {
    /// A smoother for scores of `classes` classes.
    ///
    /// # Errors
    /// There is no room for so many.
    pub fn new(classes: usize, smoothing: Smoothing) -> Result<Self, TooManyClasses> {
        if classes > MAX_CLASSES {
            return Err(TooManyClasses(classes));
        }
        let smoothing = Smoothing { shift: smoothing.shift.min(MAX_SHIFT), hold: smoothing.hold.max(1), ..smoothing };
        Ok(Self { averages: Vec::new(), classes, smoothing, standing: None, challenger: 0, lasted: 0 })
    }

    /// Forgets all frames: what comes next shows something else.
    pub fn forget(&mut self) {
        self.averages.clear();
        (self.standing, self.lasted) = (None, 0);
    }

    /// Takes a frame's scores, one per class.
    pub fn add(&mut self, scores: &[i8]) -> Verdict {
        let scores = scores.iter().take(self.classes).map(|score| i32::from(*score) << FRACTION);
        if self.averages.is_empty() {
            // There is room for every class, so that `extend` cannot fail.
            self.averages.extend(scores);
        } else {
            for (average, score) in self.averages.iter_mut().zip(scores) {
                *average += (score - *average) >> self.smoothing.shift;
            }
        }
        let best = self.best(None);
        self.settle(best);
        Verdict { class: self.standing.unwrap_or(best), settled: self.standing.is_some() }
    }

    /// The average of `class` in steps of int8 scores; 0 for what is no class or has none yet.
    pub fn average(&self, class: u16) -> f32 {
        let average = self.averages.get(usize::from(class)).copied().unwrap_or_default();
        average as f32 / (1 << FRACTION) as f32
    }

    /// The class with the highest average, without that of `except`; the first of equals.
    pub fn best(&self, except: Option<u16>) -> u16 {
        let classes = (0u16..).zip(&self.averages).filter(|(class, _)| Some(*class) != except);
        let first = |a: (u16, i32), (class, average): (u16, &i32)| if *average > a.1 { (class, *average) } else { a };
        classes.fold((0, i32::MIN), first).0
    }

    /// Lets `best` take over once it has led by enough for long enough.
    fn settle(&mut self, best: u16) {
        if self.standing == Some(best) {
            self.lasted = 0;
            return;
        }
        // While nothing stands, the second best is what there is to lead.
        let rival = self.standing.unwrap_or_else(|| self.best(Some(best)));
        let level = |class: u16| self.averages.get(usize::from(class)).copied().unwrap_or(i32::MIN >> 1);
        let lead = if rival == best { i32::MAX } else { level(best) - level(rival) };
        let leads = lead >= i32::from(self.smoothing.lead) << FRACTION;
        self.lasted = match (leads, best == self.challenger) {
            (false, _) => 0,
            (true, true) => self.lasted.saturating_add(1),
            (true, false) => 1,
        };
        self.challenger = best;
        if self.lasted >= self.smoothing.hold {
            (self.standing, self.lasted) = (Some(best), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The labels that stand after each frame.
    fn labels(smoothing: Smoothing, frames: &[[i8; 3]]) -> std::vec::Vec<Option<u16>> {
        let mut smoother = Smoother::new(3, smoothing).unwrap();
        let verdicts = frames.iter().map(|scores| smoother.add(scores));
        verdicts.map(|v| v.settled.then_some(v.class)).collect()
    }

    #[test]
    fn smoothing_is_chosen_by_three_numbers() {
        assert_eq!(Smoothing::chosen(None), Smoothing::default());
        assert_eq!(Smoothing::chosen(Some("0,0,1")), Smoothing::NONE);
        assert_eq!(Smoothing::chosen(Some("8,255,30")), Smoothing { shift: 8, lead: 255, hold: 30 });
        for bad in [
            "", "2", "2,3", "2,3,", ",3,3", "2,,3", "2,3,3,3", "9,3,3", "2,256,3", "2,3,0", "2,3,x", "2, 3, 3",
            "-1,3,3",
        ] {
            assert!(std::panic::catch_unwind(|| Smoothing::chosen(Some(bad))).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn without_smoothing_every_frame_decides() {
        let frames = [[9, 0, 0], [0, 9, 0], [0, 9, 9], [1, 2, 3]];
        assert_eq!(labels(Smoothing::NONE, &frames), [Some(0), Some(1), Some(1), Some(2)]);
    }

    #[test]
    fn a_label_stands_only_after_it_led_for_long_enough() {
        let smoothing = Smoothing { shift: 0, lead: 5, hold: 3 };
        let [cat, cat_hardly, dog] = [[20, 0, 0], [20, 16, 0], [0, 20, 0]];
        assert_eq!(labels(smoothing, &[cat, cat, cat]), [None, None, Some(0)]);
        // A frame in which it hardly leads begins the count anew.
        assert_eq!(labels(smoothing, &[cat, cat, cat_hardly, cat, cat, cat])[2..], [None, None, None, Some(0)]);
        // Two frames of something else, even repeatedly, do not change what stands; three do.
        let flicker = [cat, cat, cat, dog, dog, cat, dog, dog, cat, dog, dog, dog];
        let shown = labels(smoothing, &flicker);
        assert!(shown[2..11].iter().all(|label| *label == Some(0)), "{shown:?}");
        assert_eq!(shown[11], Some(1));
    }

    #[test]
    fn averages_follow_the_formula_and_never_drift() {
        for shift in [0, 1, 3, 8] {
            let mut smoother = Smoother::new(2, Smoothing { shift, lead: 0, hold: 1 }).unwrap();
            let (mut expected, mut state) = ([0.0; 2], 1u32);
            for frame in 0..20_000 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let scores = [(state >> 24) as i8, (state >> 16) as i8];
                smoother.add(&scores);
                for (average, score) in expected.iter_mut().zip(scores) {
                    let part = if frame == 0 { 1.0 } else { 1.0 / f64::from(1u32 << shift) };
                    *average += (f64::from(score) - *average) * part;
                }
            }
            for (class, expected) in (0..).zip(expected) {
                let off = (f64::from(smoother.average(class)) - expected).abs();
                assert!(off < 0.01, "shift {shift}: {off} off");
            }
        }
    }

    #[test]
    fn what_is_forgotten_counts_no_more() {
        let mut smoother = Smoother::new(3, Smoothing { shift: 4, lead: 0, hold: 1 }).unwrap();
        for _ in 0..50 {
            smoother.add(&[100, 0, 0]);
        }
        smoother.forget();
        assert_eq!(smoother.add(&[0, 0, 1]), Verdict { class: 2, settled: true });
    }

    #[test]
    fn odd_numbers_of_classes_have_an_answer() {
        assert_eq!(Smoother::new(MAX_CLASSES + 1, Smoothing::NONE).unwrap_err(), TooManyClasses(MAX_CLASSES + 1));
        let mut one = Smoother::new(1, Smoothing { shift: 0, lead: 200, hold: 1 }).unwrap();
        assert_eq!(one.add(&[-128]), Verdict { class: 0, settled: true });
        let mut none = Smoother::new(0, Smoothing::default()).unwrap();
        assert_eq!(none.add(&[]).class, 0);
        let mut most = Smoother::new(MAX_CLASSES, Smoothing::NONE).unwrap();
        let scores: std::vec::Vec<i8> = (0..MAX_CLASSES).map(|i| if i == 1000 { 5 } else { -5 }).collect();
        assert_eq!(most.add(&scores), Verdict { class: 1000, settled: true });
    }
}
